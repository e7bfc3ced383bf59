"""Damage to the bytes of a raster: blind, and aimed at the fields that a reader believes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from random import Random

_NUMBERS = (0, 1, 2, 3, 8, 16, 255, 256, 32767, 65535, 65536, 60_000, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
_TIFF_TAGS = (256, 257, 258, 259, 262, 273, 277, 278, 279, 284, 317, 322, 323, 324, 325, 338, 339, 33550, 33922, 34264)
_TIFF_TAGS += (34735, 34736, 34737, 42112, 42113, 50674, 320, 330, 347)


def damage(random: Random, data: bytes) -> bytes:
    """The bytes after one to four mutations."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        aimed = _aimed_at(data)
        mutation = aimed if aimed is not None and random.random() < 0.7 else random.choice(_BLIND)
        if data:
            data = mutation(random, data)
    return data


def _flip(random: Random, data: bytes) -> bytes:
    changed = bytearray(data)
    # The head of a file is small beside its pixels, but it is where the fields are.
    reach = random.choice((64, 512, len(data)))
    for _ in range(random.choice((1, 2, 16))):
        changed[random.randrange(min(reach, len(data)))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _number(random: Random, data: bytes) -> bytes:
    place = random.randrange(len(data))
    size = random.choice((1, 2, 4, 8))
    value = random.choice(_NUMBERS) % 2 ** (8 * size)
    return data[:place] + value.to_bytes(size, random.choice(("little", "big"))) + data[place + size :]


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _zero(random: Random, data: bytes) -> bytes:
    first, last = _span(random, data)
    return data[:first] + bytes(last - first) + data[last:]


def _drop(random: Random, data: bytes) -> bytes:
    first, last = _span(random, data)
    return data[:first] + data[last:]


def _repeat(random: Random, data: bytes) -> bytes:
    first, last = _span(random, data)
    return data[:last] + data[first:last] * random.choice((1, 2, 20)) + data[last:]


def _splice(random: Random, data: bytes) -> bytes:
    first, last = _span(random, data)
    place = random.randrange(len(data))
    return data[:place] + data[first:last] + data[place + last - first :]


def _noise(random: Random, data: bytes) -> bytes:
    first, last = _span(random, data)
    return data[:first] + random.randbytes(last - first) + data[last:]


_BLIND: tuple[Callable[[Random, bytes], bytes], ...] = (
    _flip,
    _flip,
    _number,
    _cut,
    _zero,
    _drop,
    _repeat,
    _splice,
    _noise,
)


def _span(random: Random, data: bytes) -> tuple[int, int]:
    first = random.randrange(len(data))
    return first, min(len(data), first + random.choice((1, 4, 32, 256, 4096)))


def _aimed_at(data: bytes) -> Callable[[Random, bytes], bytes] | None:
    if data[:2] in (b"II", b"MM") and len(data) > 16:
        return _tiff_field
    if data[:4] == b"\x89PNG" and len(data) > 33:
        return _png_chunk
    if data[:2] == b"\xff\xd8" or data[4:8] == b"jP  ":
        return _marker
    return None


def _tiff_field(random: Random, data: bytes) -> bytes:
    """Change one field of one entry of the first directory: its tag, type, count or value."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    entry_size, head, offset = (20, "Q", 8) if is_big else (12, "H", 4)
    directory = struct.unpack_from(f"{order}{'Q' if is_big else 'I'}", data, offset)[0]
    size = struct.calcsize(head)
    if directory + size > len(data):
        return _flip(random, data)
    num_entries = min(
        struct.unpack_from(order + head, data, directory)[0], (len(data) - directory - size) // entry_size
    )
    if num_entries < 1:
        return _flip(random, data)
    entry = directory + size + entry_size * random.randrange(num_entries)
    layout = f"{order}HH{'QQ' if is_big else 'II'}"
    fields = list(struct.unpack_from(layout, data, entry))
    which = random.choice((0, 1, 2, 3, 3, 3))
    top = 2**16 if which < 2 else 2 ** (64 if is_big else 32)
    fields[which] = (random.choice(_TIFF_TAGS), random.randrange(20), random.choice(_NUMBERS), random.choice(_NUMBERS))[
        which
    ]
    fields[which] %= top
    return data[:entry] + struct.pack(layout, *fields) + data[entry + entry_size :]


def _png_chunk(random: Random, data: bytes) -> bytes:
    """Change a byte or number of a chunk and put its check sum right, so that the reader believes it."""
    chunks = []
    place = 8
    while place + 12 <= len(data):
        length = struct.unpack_from(">I", data, place)[0]
        if place + 12 + length > len(data):
            break
        chunks.append((place, length))
        place += 12 + length
    if not chunks:
        return _flip(random, data)
    place, length = random.choice(chunks)
    body = data[place + 4 : place + 8] + (
        _number(random, data[place + 8 : place + 8 + length])[:length] if length else b""
    )
    body = body.ljust(length + 4, b"\0")
    return data[: place + 4] + body + struct.pack(">I", zlib.crc32(body)) + data[place + 12 + length :]


def _marker(random: Random, data: bytes) -> bytes:
    """Change a number right behind a marker of JPEG or of the JPEG 2000 code stream."""
    markers = [i for i in range(len(data) - 12) if data[i] == 0xFF and data[i + 1] in _MARKERS]
    if not markers:
        return _flip(random, data)
    place = random.choice(markers) + 2 + random.randrange(10)
    size = random.choice((1, 2, 4))
    return data[:place] + (random.choice(_NUMBERS) % 256**size).to_bytes(size, "big") + data[place + size :]


_MARKERS = (0xC0, 0xC1, 0xC2, 0xC4, 0xDA, 0xDB, 0xDD, 0xE0, 0x4F, 0x51, 0x52, 0x5C, 0x90)
