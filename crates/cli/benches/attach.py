#!/usr/bin/env python3
"""Measures attaching images in other ways than by NBD: through FUSE, compared with bindfs; updated in
place; and sharing blocks with the store, on xfs and btrfs. Run it as root.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time

import serve
import tree

MIB = 1 << 20
PAGE = 10_000


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bytes", type=int, default=1 << 30, help="large content to read and to share (1 GiB)")
    parser.add_argument("--files", type=int, default=35_000, help="number of files of the site that changes")
    parser.add_argument("--site-bytes", type=int, default=630_000_000, help="size of that site in bytes")
    parser.add_argument("--runs", type=int, default=5, help="number of samples of each figure")
    parser.add_argument("--only", choices=["fuse", "update", "share"], action="append", help="measure only this (may be repeated)")
    parser.add_argument("--folder", help="folder for files (default: /dev/shm if it exists, which is memory)")
    parser.add_argument("--json", help="write every sample to this file")
    return parser.parse_args()


run = serve.run


@contextlib.contextmanager
def mounted(command, place):
    """Runs a command that stays in the foreground and mounts something at `place`."""
    os.makedirs(place, exist_ok=True)
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not os.path.ismount(place):
        assert child.poll() is None, command
        time.sleep(0.005)
    try:
        yield place
    finally:
        run("umount", place)
        child.wait()


def read_all(path):
    """Reads a file from start to end that is not in the page cache. Returns MB/s."""
    run("dd", f"if={path}", "iflag=nocache", "count=0")
    begun = time.monotonic()
    run("dd", f"if={path}", "of=/dev/null", "bs=1M")
    return os.path.getsize(path) / 1e6 / (time.monotonic() - begun)


def fuse(options, folder, samples):
    """Measures the first read, reads by mounts that find the content proven, and reads from a full cache."""
    print(f"\nsequential reading through FUSE, {options.bytes / 1e6:.0f} MB, in MB/s")
    print(f"{'':32}{'freestone':>10}{'bindfs':>10}   ratio")
    for kind in ("raw", "compressed"):
        site, store, plain = f"{folder}/{kind}", f"{folder}/{kind}.store", f"{folder}/plain"
        serve.write_content(site, kind, options.bytes)
        run("freestone", "init", store)
        revision = run("freestone", "-s", store, "push", site).strip()
        shutil.rmtree(site)
        os.makedirs(plain)
        run("freestone", "-s", store, "image", revision, "-o", f"{plain}/www.img")
        ours = ["freestone", "-s", store, "mount", f"{folder}/ours"]
        theirs = ["bindfs", "-f", "-r", plain, f"{folder}/theirs"]
        shutil.rmtree(f"{store}/cache", ignore_errors=True)
        with mounted(ours, f"{folder}/ours") as place:
            first = read_all(f"{place}/{revision}.tar")
        later, held, theirs_speeds = [], [], []
        holding = [*ours[:-1], "--cache", str(options.bytes + (64 << 20)), ours[-1]]
        for _ in range(options.runs):
            with mounted(ours, f"{folder}/ours") as place:
                later.append(read_all(f"{place}/{revision}.tar"))
            with mounted(holding, f"{folder}/ours") as place:
                read_all(f"{place}/{revision}.tar")
                held.append(read_all(f"{place}/{revision}.tar"))
            with mounted(theirs, f"{folder}/theirs") as place:
                read_all(f"{place}/www.img")
                theirs_speeds.append(read_all(f"{place}/www.img"))
        samples[f"fuse {kind}"] = {"first": first, "later": later, "held": held, "bindfs": theirs_speeds}
        beside = statistics.median(theirs_speeds)
        for what, speed in (
            ("first", first),
            ("another mount", statistics.median(later)),
            ("in its cache", statistics.median(held)),
        ):
            print(f"{f'{kind}, {what}':32}{speed:10.0f}{beside:10.0f}   {speed / beside:.2f}")
        shutil.rmtree(plain)
        shutil.rmtree(store)


def update(options, folder, samples):
    """Changes one page of 10 KB: first its size stays, then it grows."""
    site, store, image = f"{folder}/site", f"{folder}/store", f"{folder}/www.img"
    tree.grow_site(site, options.files, options.site_bytes, seed=1)
    changed = []
    for at in range(options.runs):
        # At many places of the image, not only at its end, since everything after a page may move.
        os.makedirs(f"{site}/page-{at}", exist_ok=True)
        changed.append(f"{site}/page-{at}/index.html")
        with open(changed[-1], "wb") as out:
            out.write(b"a" * PAGE)
    first = f"{site}/!first/index.html"
    os.makedirs(os.path.dirname(first))
    with open(first, "wb") as out:
        out.write(b"a" * PAGE)

    def push():
        run("freestone", "-s", store, "push", site)

    def bring():
        begun = time.monotonic()
        answer = json.loads(run("freestone", "--json", "-s", store, "image", "main", "--update", "-o", image))
        return {"seconds": time.monotonic() - begun, **answer}

    run("freestone", "init", store)
    push()
    run("freestone", "-s", store, "image", "main", "-o", image)
    rows = {"the sizes stay": [], "512 bytes longer": [], "4096 bytes longer": []}
    for path in changed:
        with open(path, "wb") as out:
            out.write(os.urandom(PAGE))
        push()
        rows["the sizes stay"].append(bring())
    # The first page of all, so that everything after it moves. If the page grows by less than 4096 bytes,
    # only what is before the next file of 64 KiB or more moves, since that starts at a multiple of 4096.
    for more in (512, 4096):
        for length in (PAGE + more, PAGE):
            with open(first, "wb") as out:
                out.write(b"b" * length)
            push()
            rows[f"{more} bytes longer"].append(bring())
    samples["update"] = rows
    print(f"\nimage --update, one page of 10 KB of an image of {os.path.getsize(image) / 1e6:.0f} MB")
    print(f"{'':24}{'written':>14}{'read':>14}{'ms':>8}")
    for what, answers in rows.items():
        written, read, seconds = (
            statistics.median(answer[key] for answer in answers) for key in ("written", "read", "seconds")
        )
        print(f"{what:24}{written:14.0f}{read:14.0f}{seconds * 1000:8.0f}")
    shutil.rmtree(site)
    shutil.rmtree(store)
    os.remove(image)


def share(options, folder, samples):
    """Measures the image of large files, all of which were proven when an earlier image was written."""
    print(f"\nimage of {options.bytes / 1e6:.0f} MB of large files, with blocks shared with the store")
    print(f"{'':10}{'first, ms':>12}{'later, ms':>12}{'new space':>12}{'written':>12}")
    for system in ("xfs", "btrfs"):
        disk, place = f"{folder}/{system}.disk", f"{folder}/{system}"
        with open(disk, "wb") as out:
            out.truncate(4 * options.bytes + (1 << 30))
        run(f"mkfs.{system}", "-q", disk)
        os.makedirs(place)
        run("mount", "-o", "loop", disk, place)
        try:
            site, store = f"{place}/site", f"{place}/store"
            serve.write_content(site, "raw", options.bytes)
            run("freestone", "init", store)
            run("freestone", "-s", store, "push", site)
            time.sleep(0.1)
            rows = []
            for at in range(options.runs + 1):
                run("sync", "-f", place)
                before = os.statvfs(place)
                begun = time.monotonic()
                answer = json.loads(
                    run("freestone", "--json", "-s", store, "image", "main", "-o", f"{place}/{at}.img")
                )
                seconds = time.monotonic() - begun
                run("sync", "-f", place)
                after = os.statvfs(place)
                used = (before.f_bfree - after.f_bfree) * after.f_frsize
                rows.append({"seconds": seconds, "used": used, **answer})
        finally:
            run("umount", place)
        os.remove(disk)
        samples[f"share {system}"] = rows
        later, used, written = (
            statistics.median(row[key] for row in rows[1:]) for key in ("seconds", "used", "written")
        )
        print(f"{system:10}{rows[0]['seconds'] * 1000:12.0f}{later * 1000:12.0f}{used:12.0f}{written:12.0f}")


def main():
    options = parse()
    home = "/dev/shm" if os.path.isdir("/dev/shm") else None
    samples = {}
    with tempfile.TemporaryDirectory(dir=options.folder or home) as folder:
        for measure in (fuse, update, share):
            if not options.only or measure.__name__ in options.only:
                measure(options, folder, samples)
    if options.json:
        with open(options.json, "w") as out:
            json.dump(samples, out, indent=1)


if __name__ == "__main__":
    main()
