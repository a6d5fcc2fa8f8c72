"""The programs that store revisions of a directory, with the same interface for all."""

import os
import shutil
from shlex import quote

import measure


def bytes_below(*tops):
    """Returns the sum of the lengths of all files below `tops`: the size of a copy of the store."""
    total = 0
    for top in tops:
        for folder, _, files in os.walk(top):
            total += sum(os.lstat(os.path.join(folder, name)).st_size for name in files)
    return total


class Store:
    """One program, with its own store below `work`. Subclasses define the commands."""

    name = program = None
    env = {}
    accept = (0,)
    note = ""

    def __init__(self, work, site):
        self.folder = os.path.join(work, self.name)
        self.site = site
        self.store = os.path.join(self.folder, "store")
        self.revision = 0
        self.env = {"HOME": self.folder, "XDG_CACHE_HOME": self.folder + "/cache"}

    @classmethod
    def is_there(cls):
        return shutil.which(cls.program) is not None

    def begin(self):
        """Creates an empty store in place of the old one."""
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.revision = 0
        self.run(self.make())

    def push_command(self):
        """Returns the command that stores the site in its present state as the next revision."""
        self.revision += 1
        return self.push()

    def run(self, command):
        measure.run(command, cwd=self.folder, env=self.env)

    def timed(self, command):
        return measure.timed(command, cwd=self.folder, env=self.env, accept=self.accept)

    def memory(self, command):
        return measure.memory(command, cwd=self.folder, env=self.env, accept=self.accept)

    def bytes(self):
        return bytes_below(self.store)

    def tidy(self):
        """The command of what the program does now and then to make its store small; none for most."""


class Freestone(Store):
    name = program = "freestone"

    def __init__(self, work, site):
        super().__init__(work, site)
        self.env["XDG_CONFIG_HOME"] = self.folder + "/settings"

    def make(self):
        return [self.program, "init", self.store]

    def push(self):
        return [self.program, "-q", "-s", self.store, "push", self.site, "-m", f"revision {self.revision}"]

    def push_unchanged(self):
        return [self.program, "-q", "-s", self.store, "push", self.site]

    def tar(self, target):
        return [self.program, "-q", "-s", self.store, "image", "main", "-o", target]

    def bytes(self):
        # db/ and cache/ are derived, and stay on this machine.
        return bytes_below(*(os.path.join(self.store, part) for part in ("packs", "index", "revisions", "refs")))


class Git(Store):
    name = program = "git"
    note = "git add + commit; later push and store are without gc, which the row below shows"
    # git commit exits with 1 if nothing changed.
    accept = (0, 1)

    def __init__(self, work, site):
        super().__init__(work, site)
        who = {"NAME": "bench", "EMAIL": "bench@localhost"}
        for key, value in who.items():
            self.env["GIT_AUTHOR_" + key] = self.env["GIT_COMMITTER_" + key] = value
        self.env["GIT_CONFIG_NOSYSTEM"] = "1"
        self.git = f"git --git-dir={quote(self.store)} --work-tree={quote(site)}"

    def make(self):
        return f"git -c init.defaultBranch=main init -q --bare {quote(self.store)} && {self.git} config gc.auto 0"

    def push(self):
        return f"{self.git} add -A {quote(self.site)} && {self.git} commit -q -m {self.revision}"

    def tar(self, target):
        return f"{self.git} archive HEAD > {quote(target)}"

    def tidy(self):
        return f"{self.git} gc -q"


class Restic(Store):
    name = program = "restic"
    note = "encrypts"

    def __init__(self, work, site):
        super().__init__(work, site)
        self.env.update(RESTIC_REPOSITORY=self.store, RESTIC_PASSWORD="x", RESTIC_CACHE_DIR=self.folder + "/cache")

    def make(self):
        return ["restic", "init", "-q"]

    def push(self):
        return ["restic", "backup", "-q", self.site]

    def tar(self, target):
        return f"restic dump -q -a tar latest {quote(self.site)} > {quote(target)}"


class Borg(Store):
    name = program = "borg"
    note = "no encryption, lz4"

    def __init__(self, work, site):
        super().__init__(work, site)
        self.env.update(
            BORG_BASE_DIR=self.folder + "/base",
            BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes",
            BORG_RELOCATED_REPO_ACCESS_IS_OK="yes",
        )

    def make(self):
        return ["borg", "init", "-e", "none", self.store]

    def push(self):
        return ["borg", "create", f"{self.store}::{self.revision}", self.site]

    def tar(self, target):
        return ["borg", "export-tar", f"{self.store}::{self.revision}", target]


class Casync(Store):
    name = program = "casync"
    note = "does not write tar; the time is that of extract into a directory"

    def make(self):
        return ["mkdir", "-p", self.store]

    def push(self):
        return ["casync", "make", f"--store={self.store}/chunks.castr", f"{self.store}/{self.revision}.caidx", self.site]

    def tar(self, target):
        index = f"{self.store}/{self.revision}.caidx"
        return ["casync", "extract", f"--store={self.store}/chunks.castr", index, target + ".d"]


ALL = [Freestone, Git, Restic, Borg, Casync]
