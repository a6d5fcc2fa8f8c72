"""Runs a command and measures how long it takes, or how much memory it uses."""

import os
import statistics
import subprocess
import time


class Failed(Exception):
    """A measured command failed. The text is the command and what it printed."""


def _start(command, cwd, env):
    argv = ["bash", "-c", "set -o pipefail; " + command] if isinstance(command, str) else command
    return subprocess.Popen(
        argv, cwd=cwd, env={**os.environ, **(env or {})}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


def _finish(process, command, accept):
    errors = process.communicate()[1]
    if process.returncode not in accept:
        text = errors.decode(errors="replace").strip()
        raise Failed(f"{command}\nexit code {process.returncode}: {text[-2000:]}")


def run(command, cwd=None, env=None, accept=(0,)):
    """Runs a command: a list of words, or a line for bash. Returns the seconds it took."""
    began = time.perf_counter()
    process = _start(command, cwd, env)
    _finish(process, command, accept)
    return time.perf_counter() - began


def timed(command, cwd=None, env=None, accept=(0,)):
    """As `run`, after everything that waits to be written to disk was written."""
    os.sync()
    return run(command, cwd, env, accept)


def _status(pid):
    """Returns RssAnon and VmHWM of a process in bytes, and its children."""
    figures = {"RssAnon": 0, "VmHWM": 0}
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name in figures:
                figures[name] = int(value.split()[0]) * 1024
    children = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as file:
            children += [int(child) for child in file.read().split()]
    return figures["RssAnon"], figures["VmHWM"], children


def memory(command, cwd=None, env=None, accept=(0,)):
    """Runs a command. Returns the (anonymous, resident) peaks in bytes of it and its children together.

    `anonymous` is the largest sum of RssAnon in samples about 2 ms apart: heap and stacks, which the
    limits are for. VmHWM, the kernel's own record of the peak, would miss nothing between samples, but it
    also counts pages of mapped files (indexes, packs, the program itself), which the kernel may drop at any
    time. It is returned as `resident`, the upper bound.
    """
    process = _start(command, cwd, env)
    # The pipe is read at the end, since the commands print little on stderr.
    anonymous, resident = 0, {}
    while process.poll() is None:
        total, pending = 0, [process.pid]
        while pending:
            pid = pending.pop()
            try:
                now, peak, children = _status(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            total += now
            resident[pid] = max(resident.get(pid, 0), peak)
            pending += children
        anonymous = max(anonymous, total)
        time.sleep(0.002)
    _finish(process, command, accept)
    return anonymous, max(resident.values(), default=0)


def warm(top):
    """Reads every file below `top`, so that later commands find them in the page cache."""
    for folder, _, files in os.walk(top):
        for name in files:
            with open(os.path.join(folder, name), "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


class Samples:
    """Times of several commands that took turns, so that a disturbance affects all of them."""

    def __init__(self):
        self.seconds = {}

    def add(self, name, seconds):
        self.seconds.setdefault(name, []).append(seconds)

    def median(self, name):
        values = self.seconds.get(name)
        return statistics.median(values) if values else None
