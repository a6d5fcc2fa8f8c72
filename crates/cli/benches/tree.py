"""Generates content for measurements: the same bytes for the same arguments, on any machine.

A *site* is like a large documentation site: most files under 16 KiB, a tenth of the bytes in files over
1 MiB, half of the bytes text (HTML of shared templates and a vocabulary) and half incompressible, in nested
directories, one file in fifty a copy of a shared asset. *Small* files are for counting: a million of them.
"""

import argparse
import os
import random
import sys

TEXT_SUFFIXES = [".html"] * 8 + [".json", ".svg", ".css", ".js"]
BINARY_SUFFIXES = [".png"] * 5 + [".jpg", ".woff2", ".pdf", ".webp"]
LARGE_SUFFIXES = [".mp4", ".pdf", ".zip"]
MIB = 1 << 20


class Vocabulary:
    """Sentences of made-up words, with word frequencies like those of a language."""

    def __init__(self, chance):
        consonants, vowels = "bcdfghjklmnprstvw", "aeiou"
        words = []
        for _ in range(4000):
            syllables = chance.choices([1, 2, 3, 4], [3, 5, 3, 1])[0]
            words.append("".join(chance.choice(consonants) + chance.choice(vowels) for _ in range(syllables)))
        weights = [1 / (rank + 3) for rank in range(len(words))]
        self.words = words
        # So many sentences that a file rarely has one twice. Drawing words for each file would take minutes.
        lengths = chance.choices(range(6, 22), k=60000)
        drawn = iter(chance.choices(words, weights, k=sum(lengths)))
        self.sentences = [
            " ".join(next(drawn) for _ in range(length)).capitalize().encode() + b". " for length in lengths
        ]

    def name(self, chance):
        return "-".join(chance.choices(self.words, k=chance.choice([1, 2, 2, 3])))


def template(chance, vocabulary):
    """Returns the head and foot of a page, as a documentation generator puts them around every page."""
    links = "".join(
        f'<li><a href="/{vocabulary.name(chance)}/">{vocabulary.name(chance)}</a></li>\n' for _ in range(24)
    )
    head = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>@TITLE@</title>
<link rel="stylesheet" href="/assets/site.css"><script src="/assets/search.js" defer></script>
</head><body><nav><ul>\n{links}</ul></nav><main><h1>@TITLE@</h1>\n"""
    foot = f"</main><footer><p>{vocabulary.name(chance)}</p></footer></body></html>\n"
    return head.encode(), foot.encode()


def text(chance, vocabulary, templates, length):
    """Returns HTML of exactly `length` bytes."""
    head, foot = chance.choice(templates)
    title = vocabulary.name(chance).encode()
    head = head.replace(b"@TITLE@", title)
    wanted = length - len(head) - len(foot)
    if wanted <= 0:
        return (title + b" " + b"".join(chance.choices(vocabulary.sentences, k=length // 60 + 1)))[:length]
    parts = [head]
    while wanted > 0:
        paragraph = b"<p>" + b"".join(chance.choices(vocabulary.sentences, k=5)) + b"</p>\n"
        paragraph = paragraph[:wanted]
        parts.append(paragraph)
        wanted -= len(paragraph)
    parts.append(foot)
    return b"".join(parts)


def sizes(chance, files, total):
    """Returns the sizes of `files` files that add up to `total`, a tenth of it in files over 1 MiB."""
    large = []
    while sum(large) + MIB <= total // 10 and len(large) < files // 10:
        large.append(int(min(24 * MIB, MIB * (1.05 + chance.expovariate(0.6)))))
    count = files - len(large)
    weights = [chance.lognormvariate(0, 1.4) for _ in range(count)]
    factor = (total - sum(large)) / sum(weights)
    small = [min(int(weight * factor), MIB) for weight in weights]
    # Rounding and the limit lose a little: one file after another gets a share of it back.
    for position in range(0, count, 2000):
        small[position] = 0
    missing = total - sum(large) - sum(small)
    position = 0
    while missing > 0:
        if small[position] == 0:
            position = (position + 1) % count
        share = min(missing, missing // count + 4096, MIB - small[position])
        small[position] += share
        missing -= share
        position = (position + 1) % count
    return large, small


def directories(chance, vocabulary, count):
    """Returns `count` nested directories, each after its parent; most are three to five levels deep."""
    levels = [[""], [], [], [], [], [], []]
    found = {""}
    while len(found) < count:
        depth = chance.choices(range(1, 7), [1, 4, 8, 8, 4, 2])[0]
        while not levels[depth - 1]:
            depth -= 1
        path = f"{chance.choice(levels[depth - 1])}{vocabulary.name(chance)}/"
        if path not in found:
            found.add(path)
            levels[depth].append(path)
    return [path for level in levels for path in level]


def grow_site(top, files, total, seed):
    """Writes a site of `files` files and `total` bytes into the new directory `top`."""
    chance = random.Random(f"site {seed}")
    vocabulary = Vocabulary(chance)
    templates = [template(chance, vocabulary) for _ in range(6)]
    folders = directories(chance, vocabulary, max(1, files // 12))
    for folder in folders:
        os.makedirs(os.path.join(top, folder), exist_ok=True)
    large, small = sizes(chance, files, total)
    assets = [text(chance, vocabulary, templates, 2000 * n + 700) for n in range(1, 9)]
    assets += [chance.randbytes(1500 * n + 300) for n in range(1, 9)]
    taken = set()
    text_bytes = binary_bytes = 0
    for size, is_large in [(size, True) for size in large] + [(size, False) for size in small]:
        content = None
        # A copy replaces a file of about its size, so the total stays about right.
        if not is_large and chance.random() < 0.1:
            near = [asset for asset in assets if 0.8 < len(asset) / (size + 1) < 1.25]
            content = chance.choice(near) if near else None
        is_text = text_bytes <= binary_bytes
        if content is None:
            content = text(chance, vocabulary, templates, size) if is_text else chance.randbytes(size)
        if is_text:
            text_bytes += len(content)
        else:
            binary_bytes += len(content)
        suffixes = TEXT_SUFFIXES if is_text else LARGE_SUFFIXES if is_large else BINARY_SUFFIXES
        write_new(top, chance, vocabulary, folders, taken, chance.choice(suffixes), content)


def write_new(top, chance, vocabulary, folders, taken, suffix, content):
    while True:
        path = chance.choice(folders) + vocabulary.name(chance) + suffix
        if path not in taken and not os.path.lexists(os.path.join(top, path)):
            break
    taken.add(path)
    with open(os.path.join(top, path), "xb", buffering=0) as file:
        file.write(content)


def listing(top):
    """Returns all files below `top`, in an order that is the same everywhere."""
    found = []
    for folder, names, files in os.walk(top):
        names.sort()
        found += [os.path.join(folder, name) for name in files]
    return sorted(found)


def revise_site(top, number, seed):
    """Makes revision `number` (from 2) of the site in place, as its authors would.

    In a hundredth of the pages a paragraph changes; some files are new, gone or replaced; a large file gets
    4 KiB in its middle; a directory is renamed.
    """
    chance = random.Random(f"revision {seed} {number}")
    vocabulary = Vocabulary(random.Random(f"words {seed}"))
    templates = [template(chance, vocabulary)]
    files = listing(top)
    pages = [path for path in files if path.endswith(".html")]
    others = [path for path in files if path.endswith((".png", ".jpg"))]
    large = [path for path in files if os.path.getsize(path) > MIB]
    for path in chance.sample(pages, max(1, len(pages) // 100)):
        with open(path, "r+b") as file:
            content = file.read()
            at = content.find(b". ", len(content) // 2) + 2
            paragraph = b"".join(chance.choices(vocabulary.sentences, k=4))
            file.seek(0)
            file.write(content[:at] + paragraph + content[at + len(paragraph) // 2 :])
            file.truncate()
    for path in chance.sample(others, len(others) // 500):
        with open(path, "wb") as file:
            file.write(chance.randbytes(int(chance.lognormvariate(9, 1))))
    for path in chance.sample(others, len(others) // 1000):
        os.unlink(path)
    folders = sorted({os.path.relpath(os.path.dirname(path), top) + "/" for path in files})
    for _ in range(max(1, len(files) // 500)):
        content = text(chance, vocabulary, templates, int(chance.lognormvariate(8.7, 1)))
        write_new(top, chance, vocabulary, folders, set(), ".html", content)
    if large:
        path = chance.choice(large)
        with open(path, "r+b") as file:
            content = file.read()
            at = len(content) // 2
            file.seek(0)
            file.write(content[:at] + chance.randbytes(4096) + content[at:])
    leaves = [path for path in folders if path.count("/") > 3]
    if leaves:
        path = os.path.join(top, chance.choice(leaves)).rstrip("/")
        os.rename(path, path + "-renamed")


def grow_small(top, files, seed, flat):
    """Writes `files` files of 40 to 400 bytes: all in `top`, or a hundred a directory, two levels deep."""
    chance = random.Random(f"small {seed}")
    words = [word.encode() for word in Vocabulary(chance).words]
    os.makedirs(top, exist_ok=True)
    filler = [b" ".join(chance.choices(words, k=60)) for _ in range(512)]
    folder, parent = None, os.open(top, os.O_RDONLY)
    for number in range(files):
        if not flat and number % 100 == 0:
            if folder is not None:
                os.close(folder)
            path = os.path.join(top, f"d{number // 10000:04}", f"d{number // 100 % 100:02}")
            os.makedirs(path)
            folder = os.open(path, os.O_RDONLY)
        content = b"%08d %s\n" % (number, filler[number * 7 % 512][: 30 + number * 31 % 360])
        file = os.open(
            f"f{number:07}.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=parent if flat else folder
        )
        os.write(file, content)
        os.close(file)
    os.close(parent)
    if folder is not None:
        os.close(folder)


def amount(argument):
    """Converts an amount such as 630M to bytes."""
    units = {"k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
    return int(argument[:-1]) * units[argument[-1]] if argument[-1] in units else int(argument)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench-tree", description=__doc__.split("\n")[0])
    parser.add_argument("top", help="a directory that does not exist yet (with --revise: an existing one)")
    parser.add_argument("--files", type=int, default=35000)
    parser.add_argument("--bytes", type=amount, default=amount("630M"), help="total size, such as 630M")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="small files only, for a large number of --files")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--flat", action="store_true", help="with --small: all in one directory")
    shape.add_argument("--nested", action="store_true", help="with --small: a hundred a directory (default)")
    parser.add_argument("--revise", type=int, metavar="N", help="make revision N (from 2) of it in place")
    options = parser.parse_args()
    if options.revise is not None:
        revise_site(options.top, options.revise, options.seed)
        return
    if os.path.exists(options.top):
        sys.exit(f"scripts/bench-tree: {options.top} exists; name a directory that does not")
    if options.small:
        grow_small(options.top, options.files, options.seed, options.flat)
    else:
        grow_site(options.top, options.files, options.bytes, options.seed)


if __name__ == "__main__":
    main()
