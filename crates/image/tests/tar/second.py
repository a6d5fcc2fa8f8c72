"""A second writer of tar images, made from docs/format.md alone and sharing nothing with the first.

    second.py ROOT ALIGN PAD SIZE < LIST > IMAGE

ROOT is the manifest's root in hex, ALIGN is 4096 or none, PAD and SIZE are decimal and 0 if not
given. LIST has a line for each entry in manifest order: its kind (d, f, or x for an executable
file), its mtime, its path in hex, and the path of a file with its content.
"""

import sys


def up(number, unit):
    return -(-number // unit) * unit


def record(key, value):
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


def header(name, mode, kind, size, mtime, prefix=b""):
    def field(text, width):
        return text + bytes(width - len(text))

    before = b"".join([
        field(name, 100),
        b"%07o\0" % mode,
        b"0000000\0" * 2,
        b"%011o\0" % size,
        b"%011o\0" % mtime,
    ])
    after = b"".join([
        kind,
        bytes(100),
        b"ustar\0" + b"00",
        bytes(64),
        b"0000000\0" * 2,
        field(prefix, 155),
        bytes(12),
    ])
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    block = before + b"%06o\0 " % checksum + after
    assert len(block) == 512
    return block


def payload(name, kind, records):
    assert 0 < len(records) <= 512
    return header(name, 0o644, kind, len(records), 0) + records + bytes(512 - len(records))


def split(name):
    """Returns prefix and name, or None if the whole name is in pax."""
    if len(name) <= 100:
        return b"", name
    at = name.index(b"/", len(name) - 101) if b"/" in name[len(name) - 101:] else -1
    if 1 <= at <= 155 and at + 1 < len(name):
        return name[:at], name[at + 1:]
    return None


def entry(out, align, kind, mtime, path, content):
    name = path + b"/" if kind == "d" else path
    records = b""
    parts = split(name)
    if parts is None:
        try:
            name.decode()
        except UnicodeDecodeError:
            records += record(b"hdrcharset", b"BINARY")
        records += record(b"path", name)
        if kind == "d":
            parts = b"", name[:99].removesuffix(b"/") + b"/"
        else:
            parts = b"", name[:100].removesuffix(b"/")
    size = len(content)
    in_header = size
    if size > 8**11 - 1:
        records += record(b"size", b"%d" % size)
        in_header = 0
    headers = payload(b"././@PaxHeader", b"x", records) if records else b""
    mode = 0o644 if kind == "f" else 0o755
    letter = b"5" if kind == "d" else b"0"
    headers += header(parts[1], mode, letter, in_header, mtime, parts[0])
    if align == "4096" and size >= 65536:
        while (len(out) + len(headers)) % 4096:
            out += header(b"./", 0o755, b"5", 0, 0)
    out += headers + content + bytes(up(size, 512) - size)


def main():
    root, align, pad, size = sys.argv[1:]
    comment = f"freestone 1 tar align={align};pad={pad};size={size} {root}"
    out = bytearray(payload(b"pax_global_header", b"g", record(b"comment", comment.encode())))
    lines = sys.stdin.read().splitlines()
    for line in lines:
        kind, mtime, path, *file = line.split(" ")
        content = open(file[0], "rb").read() if file else b""
        entry(out, align, kind, int(mtime), bytes.fromhex(path), content)
    if not lines:
        out += header(b"./", 0o755, b"5", 0, 0)
    length = up(len(out), 4096) + 4096
    if int(pad):
        length = up(length, int(pad))
    if int(size):
        length = int(size)
    out += bytes(length - len(out))
    sys.stdout.buffer.write(out)


main()
