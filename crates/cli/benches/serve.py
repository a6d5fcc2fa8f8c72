#!/usr/bin/env python3
"""Compares serving images by NBD with qemu-nbd and nbdkit on the written image, by ratios of one run.

The servers take turns, over Unix sockets, with everything in the page cache. nbdcopy does the sequential
reads, fio the random ones.
"""

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time

CHUNK = 1 << 20


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=1 << 30, help="bytes of content of each image (1 GiB)")
    parser.add_argument("--runs", type=int, default=3, help="number of samples of each figure")
    parser.add_argument("--seconds", type=int, default=3, help="seconds of each run of random reads")
    parser.add_argument("--files", type=int, default=1_000_000, help="number of files of the image for the time to the first bytes; 0: do not measure it")
    parser.add_argument("--folder", help="folder for files (default: /dev/shm if it exists, which is memory)")
    parser.add_argument("--json", help="write every sample to this file")
    return parser.parse_args()


def run(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more).stdout


class Server:
    """A server at a socket, with its name, its command and the name of its export."""

    def __init__(self, name, command, socket, export=""):
        self.name, self.command, self.socket, self.export = name, command, socket, export

    def __enter__(self):
        if os.path.exists(self.socket):
            os.remove(self.socket)
        self.child = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not os.path.exists(self.socket):
            assert self.child.poll() is None, self.command
            time.sleep(0.01)
        time.sleep(0.1)
        return self

    def __exit__(self, *_):
        self.child.terminate()
        self.child.wait()

    def uri(self):
        return f"nbd+unix:///{self.export}?socket={self.socket}"

    def memory(self):
        with open(f"/proc/{self.child.pid}/status") as status:
            lines = [line.split() for line in status]
        return next(int(line[1]) for line in lines if line[0] == "RssAnon:") << 10


def copy(server, connections):
    """Reads the whole image. Returns seconds."""
    begun = time.monotonic()
    run("nbdcopy", f"--connections={connections}", server.uri(), "null:")
    return time.monotonic() - begun


def reads(server, depth, connections, size, seconds):
    """Reads 4 KiB at random offsets. Returns reads a second."""
    ran = run(
        "fio", "--name=r", "--ioengine=nbd", f"--uri={server.uri()}", "--rw=randread", "--bs=4k",
        f"--iodepth={depth}", f"--numjobs={connections}", "--thread", "--group_reporting",
        f"--size={size // 4096 * 4096}", "--time_based", f"--runtime={seconds}", "--output-format=json",
    )
    return json.loads(ran[ran.index("{"):])["jobs"][0]["read"]["iops"]


def write_content(path, kind, length):
    """Writes files of 256 MiB and a shorter one, that no codec can shorten or that shrink to a third."""
    source = random.Random(7)
    words = [source.randbytes(12).hex().encode() for _ in range(4096)]
    os.makedirs(path)
    at = 0
    while length > 0:
        with open(f"{path}/{at}.bin", "wb") as out:
            for _ in range(min(256, length // CHUNK)):
                if kind == "raw":
                    out.write(source.randbytes(CHUNK))
                else:
                    text = b" ".join(source.choices(words, k=CHUNK // 24))
                    out.write(text.ljust(CHUNK, b".")[:CHUNK])
                length -= CHUNK
        at += 1


def measure(kind, options, folder, samples):
    site, image, store = f"{folder}/{kind}", f"{folder}/{kind}.img", f"{folder}/{kind}.store"
    write_content(site, kind, options.bytes)
    run("freestone", "init", store)
    revision = run("freestone", "-s", store, "push", site).strip()
    shutil.rmtree(site)
    run("freestone", "-s", store, "image", revision, "-o", image)
    size = os.path.getsize(image)
    # The cache holds all of the content; raw content needs no cache.
    cache = "64M" if kind == "raw" else str(size + (64 << 20))
    sock = f"{folder}/sock"
    servers = [
        Server("freestone", ["freestone", "-s", store, "serve", "nbd", revision, "--cache", cache,
                             "--listen", f"unix:{sock}-f"], f"{sock}-f", f"{revision}.tar"),
        Server("qemu-nbd", ["qemu-nbd", "-r", "-t", "-e", "16", "-f", "raw", "-k", f"{sock}-q", image], f"{sock}-q"),
        Server("nbdkit", ["nbdkit", "-f", "-r", "-U", f"{sock}-n", "file", image], f"{sock}-n"),
    ]
    rows = {}

    def add(what, name, value):
        rows.setdefault(what, {}).setdefault(name, []).append(value)

    for server in servers:
        with server:
            add("first sequential read, MB/s", server.name, size / 1e6 / copy(server, 1))
    entered = [server.__enter__() for server in servers]
    try:
        for server in entered:
            copy(server, 1)
        for _ in range(options.runs):
            for connections in (1, 4):
                for server in entered:
                    what = f"sequential, {connections} connections, MB/s"
                    add(what, server.name, size / 1e6 / copy(server, connections))
                for depth in (1, 32):
                    for server in entered:
                        what = f"4 KiB random, depth {depth}, {connections} connections, reads/s"
                        add(what, server.name, reads(server, depth, connections, size, options.seconds))
        add("memory, MiB", "freestone", entered[0].memory() / (1 << 20))
    finally:
        for server in entered:
            server.__exit__()
    os.remove(image)
    shutil.rmtree(store)
    samples[kind] = rows
    print(f"\n{kind} content, image of {size / 1e6:.0f} MB, cache {cache}")
    print(f"{'':52}{'freestone':>10}{'qemu-nbd':>10}{'nbdkit':>10}   ratio to the faster one")
    for what, by_name in rows.items():
        medians = {name: statistics.median(values) for name, values in by_name.items()}
        cells = "".join(f"{medians.get(name, 0):10.0f}" for name in ("freestone", "qemu-nbd", "nbdkit"))
        others = [medians[name] for name in ("qemu-nbd", "nbdkit") if name in medians]
        ratio = f"{medians['freestone'] / max(others):8.2f}" if others else ""
        print(f"{what:52}{cells}   {ratio}")


def first_byte(sock, export):
    """Connects with a minimal client and reads 4 KiB from the middle of the image. Returns seconds."""
    begun = time.monotonic()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(sock)
        take = client.makefile("rb").read
        take(18)
        client.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, len(export)) + export.encode())
        size, _ = struct.unpack(">QH", take(10))
        client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, size // 2, 4096))
        assert struct.unpack(">IIQ", take(16)) == (0x67446698, 0, 1)
        assert len(take(4096)) == 4096
    return time.monotonic() - begun


def attach(options, folder, samples):
    """Measures starting a server, and the first block of an image with very many files once it runs."""
    site, store, sock = f"{folder}/many", f"{folder}/many.store", f"{folder}/sock-m"
    for top in range(0, options.files, 1000):
        os.makedirs(f"{site}/{top}")
        for at in range(top, min(top + 1000, options.files)):
            with open(f"{site}/{top}/{at}", "wb") as out:
                out.write(b"%d\n" % at)
    run("freestone", "init", store)
    revision = run("freestone", "-s", store, "push", site).strip()
    shutil.rmtree(site)
    command = ["freestone", "-s", store, "serve", "nbd", revision, "--listen", f"unix:{sock}"]
    times = []
    for _ in range(options.runs):
        begun = time.monotonic()
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        child.stdout.readline()
        ready = time.monotonic() - begun
        times.append((ready * 1000, first_byte(sock, f"{revision}.tar") * 1000))
        child.terminate()
        child.wait()
    shutil.rmtree(store)
    samples["attach"] = times
    ready, client = (statistics.median(column) for column in zip(*times))
    print(f"\n{options.files} files: server ready in {ready:.1f} ms; from connecting to bytes from the middle {client:.1f} ms")


def main():
    options = parse()
    home = "/dev/shm" if os.path.isdir("/dev/shm") else None
    samples = {}
    with tempfile.TemporaryDirectory(dir=options.folder or home) as folder:
        for kind in ("raw", "compressed"):
            measure(kind, options, folder, samples)
        if options.files:
            attach(options, folder, samples)
    if options.json:
        with open(options.json, "w") as out:
            json.dump(samples, out, indent=1)


if __name__ == "__main__":
    main()
