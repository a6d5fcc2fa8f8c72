"""Compares freestone with plain tools and with git, restic, borg and casync, on the same content."""

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import measure
import stores
import tree

MIB = 1 << 20
REVISIONS = 6
MEMORY_LIMIT = 128 * MIB


def say(text):
    print(f"... {text}", file=sys.stderr, flush=True)


class Generated:
    """The generated site."""

    def __init__(self, options):
        self.options = options
        self.title = f"generated site, {options.files} files, {options.bytes / 1e6:.0f} MB"

    def begin(self, site):
        tree.grow_site(site, self.options.files, self.options.bytes, seed=1)

    def revise(self, site, number):
        tree.revise_site(site, number, seed=1)


class Corpus:
    """Six revisions of real content, ten commits apart, the last ones of a git history."""

    def __init__(self, bundle, work):
        self.git = os.path.join(work, "history.git")
        subprocess.run(["git", "-c", "init.defaultBranch=main", "clone", "-q", "--bare", bundle, self.git], check=True)
        found = self.output("rev-list", "--first-parent", "--reverse", "HEAD").split()
        self.commits = found[-10 * (REVISIONS - 1) - 1 :: 10]
        self.title = f"{os.path.basename(bundle)}, the last {REVISIONS} revisions ten commits apart"

    def output(self, *words):
        return subprocess.run(["git", f"--git-dir={self.git}", *words], check=True, stdout=subprocess.PIPE, text=True).stdout

    def begin(self, site):
        os.makedirs(site)
        self.revise(site, 1)

    def revise(self, site, number):
        commit = self.commits[number - 1]
        subprocess.run(["git", f"--git-dir={self.git}", f"--work-tree={site}", "checkout", "-qf", commit], check=True)


class Speed:
    """All measurements of one content; `results` is what --json writes."""

    def __init__(self, content, folder, options):
        self.options = options
        self.folder = folder
        self.site = os.path.join(folder, "site")
        self.content = content
        self.samples = measure.Samples()
        self.results = {"content": content.title, "runs": options.runs}
        wanted = [kind for kind in stores.ALL if not options.only or kind.name in options.only]
        for kind in wanted:
            if not kind.is_there():
                say(f"{kind.name} is not installed and is left out")
        self.stores = [kind(folder, self.site) for kind in wanted if kind.is_there()]
        self.ours = next((store for store in self.stores if store.name == "freestone"), None)
        self.sizes = {store.name: {} for store in self.stores}
        self.tidied = {}
        self.memory = {}

    def settle(self):
        """Reads all files into the page cache, and waits until their times are well in the past."""
        measure.warm(self.site)
        time.sleep(1.1)

    def measure_all(self):
        say(f"{self.content.title}: preparing")
        self.content.begin(self.site)
        self.settle()
        self.first_pushes()
        if self.ours:
            self.unchanged_pushes()
        self.later_pushes()
        self.images()
        self.memories()
        self.results.update(
            seconds=self.samples.seconds, store_bytes=self.sizes, tidied_bytes=self.tidied, memory=self.memory
        )

    def first_pushes(self):
        hashing = "find . -type f -print0 | xargs -0 -P2 -n200 sha1sum"
        for turn in range(self.options.runs):
            say(f"first push, turn {turn + 1} of {self.options.runs}")
            self.samples.add("sha1sum", measure.timed(hashing, cwd=self.site))
            for store in self.stores:
                store.begin()
                self.samples.add(f"{store.name} first push", store.timed(store.push_command()))
        for store in self.stores:
            self.sizes[store.name]["1"] = store.bytes()

    def unchanged_pushes(self):
        walking = ["find", ".", "-printf", "%s %T@ %i\\n"]
        for turn in range(self.options.runs + 1):
            say(f"unchanged push, turn {turn} of {self.options.runs}")
            walk = measure.timed(walking, cwd=self.site)
            push = self.ours.timed(self.ours.push_unchanged())
            # The first turn only warms the caches for the later ones.
            if turn > 0:
                self.samples.add("find", walk)
                self.samples.add("freestone unchanged push", push)

    def later_pushes(self):
        for number in range(2, REVISIONS + 1):
            say(f"revision {number} of {REVISIONS}")
            self.content.revise(self.site, number)
            self.settle()
            for store in self.stores:
                self.samples.add(f"{store.name} later push", store.timed(store.push_command()))
        for store in self.stores:
            self.sizes[store.name][str(REVISIONS)] = store.bytes()

    def images(self):
        target = os.path.join(self.folder, "image.tar")
        finished = os.path.join(self.folder, "finished.tar")
        if self.ours:
            self.ours.run(self.ours.tar(finished))
            measure.warm(self.folder + "/freestone")
            with open(finished, "rb") as file:
                while file.read(MIB):
                    pass
        for turn in range(self.options.runs):
            say(f"image, turn {turn + 1} of {self.options.runs}")
            steps = {"tar cf": f"tar cf image.tar -C {shlex.quote(self.site)} ."}
            steps["tar cf and sync"] = steps["tar cf"] + " && sync image.tar"
            if self.ours:
                steps["cp and sync"] = "cp --reflink=never finished.tar image.tar && sync image.tar"
                steps["freestone image and sync"] = f"{shlex.join(self.ours.tar(target))} && sync image.tar"
            for name, line in steps.items():
                self.remove(target)
                env = self.ours.env if name.startswith("freestone") else None
                self.samples.add(name, measure.timed(line, cwd=self.folder, env=env))
            for store in self.stores:
                self.remove(target)
                self.samples.add(f"{store.name} to tar", store.timed(store.tar(target)))
        self.remove(target)
        self.remove(finished)
        for store in self.stores:
            if store.tidy():
                say(f"{store.name}: compacting the store")
                self.samples.add(f"{store.name} tidy", store.timed(store.tidy()))
                self.tidied[store.name] = store.bytes()

    def remove(self, target):
        if os.path.lexists(target):
            os.unlink(target)
        shutil.rmtree(target + ".d", ignore_errors=True)

    def memories(self):
        """Measures memory in separate runs, so that it does not slow what is timed."""
        target = os.path.join(self.folder, "image.tar")
        for store in self.stores:
            say(f"memory of {store.name}")
            found = self.memory[store.name] = {}
            found["to tar"] = store.memory(store.tar(target))
            self.remove(target)
            store.begin()
            found["first push"] = store.memory(store.push_command())
            if store is self.ours:
                found["unchanged push"] = store.memory(store.push_unchanged())

    def report(self):
        print(f"\n## {self.content.title}\n")
        print(f"{self.options.runs} turns of each, alternating; medians. Page cache warm.\n")
        rows = [["", "first push s", "later push s", "store after 1", f"after {REVISIONS}", "to tar s", "memory"]]
        for store in self.stores:
            name = store.name
            sizes = self.sizes[name]
            anonymous = max(peak[0] for peak in self.memory[name].values())
            rows.append([
                name, seconds(self.samples.median(f"{name} first push")),
                seconds(self.samples.median(f"{name} later push")), megabytes(sizes["1"]),
                megabytes(sizes[str(REVISIONS)]), seconds(self.samples.median(f"{name} to tar")),
                f"{anonymous / MIB:.0f} MiB",
            ])
            if name in self.tidied:
                rows.append([f"{name}, tidied", "", seconds(self.samples.median(f"{name} tidy")) + " once", "",
                             megabytes(self.tidied[name]), "", ""])
        plain = [seconds(self.samples.median("sha1sum")), seconds(self.samples.median("find")), "", "",
                 seconds(self.samples.median("tar cf")), ""]
        rows.append(["sha1sum -P2; find; tar cf", *plain])
        table(rows)
        for store in self.stores:
            if store.note:
                print(f"{store.name}: {store.note}.")
        if self.ours:
            self.report_ratios()

    def report_ratios(self):
        median = self.samples.median
        first, hashing = median("freestone first push"), median("sha1sum")
        unchanged, walk = median("freestone unchanged push"), median("find")
        image, copy = median("freestone image and sync"), median("cp and sync")
        archive, archive_synced = median("tar cf"), median("tar cf and sync")
        print()
        rows = [["", "ours", "other", "ratio", "limit", ""]]
        compare(rows, "first push : sha1sum -P2", first, hashing, first / hashing, 1.5)
        compare(rows, "unchanged push - 50 ms : find", unchanged, walk, (unchanged - 0.05) / walk, 3)
        compare(rows, "image + sync : cp + sync", image, copy, image / copy, 1.5)
        compare(rows, "image + sync : tar cf", image, archive, image / archive, 1)
        compare(rows, "image + sync : tar cf + sync", image, archive_synced, image / archive_synced, 1)
        table(rows)
        print()
        report_memory(self.memory["freestone"])
        self.results["ratios"] = [dict(zip(["what", "ours", "beside", "ratio", "limit", "holds"], row)) for row in rows[1:]]


class Million:
    """A million small files: memory, and the cost of one changed file."""

    def __init__(self, shape, folder, options):
        self.shape = shape
        self.count = options.million_files
        self.site = os.path.join(folder, "site")
        self.ours = stores.Freestone(folder, self.site)
        self.target = os.path.join(folder, "image.tar")
        self.results = {"content": f"{self.count} small files, {shape}"}

    def measure_all(self):
        say(f"{self.results['content']}: preparing")
        tree.grow_small(self.site, self.count, seed=1, flat=self.shape == "flat")
        time.sleep(1.1)
        self.ours.begin()
        self.memory = {}
        say("first push")
        self.memory["first push"] = self.ours.memory(self.ours.push_command())
        say("unchanged push")
        self.memory["unchanged push"] = self.ours.memory(self.ours.push_unchanged())
        samples = self.samples = measure.Samples()
        for _ in range(3):
            samples.add("find", measure.timed(["find", ".", "-printf", "%s %T@ %i\\n"], cwd=self.site))
            samples.add("unchanged push", self.ours.timed(self.ours.push_unchanged()))
        before = self.ours.bytes()
        names = tree.listing(self.site)
        with open(names[len(names) // 2], "ab") as file:
            file.write(b"one more line\n")
        time.sleep(1.1)
        say("push with one file changed")
        samples.add("push of one change", self.ours.timed(self.ours.push_command()))
        self.growth = self.ours.bytes() - before
        say("image")
        self.memory["image"] = self.ours.memory(self.ours.tar(self.target))
        os.unlink(self.target)
        self.results.update(seconds=samples.seconds, memory=self.memory, growth_of_one_change=self.growth)

    def report(self):
        print(f"\n## {self.results['content']}\n")
        median = self.samples.median
        rows = [["", "ours", "other", "ratio", "limit", ""]]
        unchanged, walk = median("unchanged push"), median("find")
        compare(rows, "unchanged push - 50 ms : find", unchanged, walk, (unchanged - 0.05) / walk, 3)
        table(rows)
        print(f"\nOne file changes: the store grows by {self.growth} bytes (limit 24576:"
              f" {holds(self.growth < 24576)}), push {seconds(median('push of one change'))} s.\n")
        report_memory(self.memory)


def holds(condition):
    return "holds" if condition else "MISSED"


def seconds(value):
    return "" if value is None else f"{value:.3f}" if value < 1 else f"{value:.1f}"


def megabytes(value):
    return f"{value / 1e6:.1f} MB"


def compare(rows, what, ours, beside, ratio, limit):
    rows.append([what, seconds(ours), seconds(beside), f"{ratio:.2f}", f"{limit:g}", holds(ratio <= limit)])


def report_memory(peaks):
    rows = [["", "anonymous peak", "with mapped files", "limit", ""]]
    for what, (anonymous, resident) in peaks.items():
        rows.append([what, f"{anonymous / MIB:.1f} MiB", f"{resident / MIB:.1f} MiB", f"{MEMORY_LIMIT // MIB} MiB",
                     holds(anonymous <= MEMORY_LIMIT)])
    table(rows)


def table(rows):
    """Prints rows as a Markdown table, the first as its head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = [cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths))]
        print("| " + " | ".join(cells) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=5, help="number of turns of each measurement (5)")
    parser.add_argument("--files", type=int, default=35000, help="number of files of the generated site")
    parser.add_argument("--bytes", type=tree.amount, default=tree.amount("630M"), help="size of the generated site, such as 630M")
    parser.add_argument("--content", action="append", choices=["generated", "corpus", "million-nested", "million-flat"],
                        help="measure on this content only (may be repeated; default: generated and corpus)")
    parser.add_argument("--million-files", type=int, default=1_000_000, help=argparse.SUPPRESS)
    parser.add_argument("--only", action="append", metavar="NAME", help="measure this program only (may be repeated)")
    parser.add_argument("--folder", help="folder to work in (default: the cache folder); needs about 8 GB")
    parser.add_argument("--corpus", default=os.environ.get("FREESTONE_DEMO_BUNDLE"), help="a git bundle with real content")
    parser.add_argument("--json", help="write all samples to this file too")
    options = parser.parse_args()

    if options.folder:
        os.makedirs(options.folder, exist_ok=True)
    results = {"machine": f"{platform.machine()}, {os.cpu_count()} processors, Linux {platform.release()}", "contents": []}
    print(f"Machine: {results['machine']}")
    for name in options.content or ["generated", "corpus"]:
        with tempfile.TemporaryDirectory(prefix="freestone-bench.", dir=options.folder) as folder:
            if name == "corpus":
                if not options.corpus or not os.path.exists(options.corpus):
                    say(f"the corpus {options.corpus or ''} does not exist and is left out")
                    continue
                measured = Speed(Corpus(options.corpus, folder), folder, options)
            elif name == "generated":
                measured = Speed(Generated(options), folder, options)
            else:
                measured = Million(name.removeprefix("million-"), folder, options)
            measured.measure_all()
            measured.report()
            results["contents"].append(measured.results)
    if options.json:
        with open(options.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    try:
        main()
    except measure.Failed as failure:
        sys.exit(f"scripts/bench: a command failed: {failure}")
