"""Label Studio's run-length code of a brush: a mask as bytes, both ways.

The code is that of the JavaScript package `@thi.ng/rle-pack`, over the four channels (red, green, blue, alpha) of every
pixel in reading order. Strokes have soft edges: every pixel that a brush has touched, so that its alpha is not 0, is of
the mask, as Label Studio shows it when the task is opened again. The bits, the highest first:

    32  number of values (4 a pixel)       5  bits of a value, less 1       4 x 4  bits of the four run sizes, less 1

and then blocks: one bit that tells a run (1) from single values (0), two that choose a run size, the length less 1 in
so many bits, and the value of the run, or each of the single values.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from terrascope.errors import SampleError
from terrascope.masks import Mask

CHANNELS = 4
_VALUE_BITS = 8
_RUN_SIZES = (3, 4, 8, 16)
"""Bits of a length, as Label Studio itself chooses them."""

_HEAD_BITS = 32 + 5 + 4 * 4
_PAINTED = 255


def encode_brush(mask: Mask) -> list[int]:
    """The bytes of a mask bool `[H, W]`: white and opaque where it is True, nothing elsewhere."""
    flat = mask.ravel()
    starts = np.flatnonzero(np.diff(flat, prepend=~flat[:1]))
    lengths = CHANNELS * np.diff(starts, append=flat.size)
    values = np.where(flat[starts], _PAINTED, 0)
    longest = 1 << _RUN_SIZES[-1]
    parts = -(-lengths // longest)
    # All parts of a run but its last are of the longest kind.
    sizes = np.full(int(parts.sum()), longest, np.int64)
    sizes[np.cumsum(parts) - 1] = lengths - (parts - 1) * longest
    kinds = np.searchsorted([1 << bits for bits in _RUN_SIZES], sizes)
    length_bits = np.asarray(_RUN_SIZES)[kinds]
    codes = (((4 | kinds) << length_bits | sizes - 1) << _VALUE_BITS) | np.repeat(values, parts)
    head = f"{CHANNELS * flat.size:032b}{_VALUE_BITS - 1:05b}" + "".join(f"{bits - 1:04b}" for bits in _RUN_SIZES)
    head_bits = np.frombuffer(head.encode(), np.uint8) - ord("0")
    stream = np.concatenate([head_bits, _to_bits(codes, 3 + length_bits + _VALUE_BITS)])
    return [int(byte) for byte in np.packbits(stream)]


def decode_brush(code: Sequence[int], shape: tuple[int, int]) -> Mask:
    """The mask bool `[H, W]` of a brush: True where its alpha is not 0.

    Raises:
        SampleError: the bytes are not such a code, or do not fill the shape.
    """
    height, width = shape
    try:
        bits = np.unpackbits(np.asarray(code, np.uint8))
    except (OverflowError, TypeError, ValueError):
        raise SampleError("a brush must be a list of bytes, whole numbers from 0 to 255") from None
    if bits.ndim != 1 or len(bits) < _HEAD_BITS:
        raise SampleError("a brush is cut short: its code does not even hold its size")
    num = _number(bits[:32])
    value_bits = _number(bits[32:37]) + 1
    run_sizes = [_number(bits[37 + 4 * kind : 41 + 4 * kind]) + 1 for kind in range(4)]
    if num != CHANNELS * height * width:
        raise SampleError(f"a brush of {num // CHANNELS} pixels does not fit an image of {height} x {width}")
    if value_bits != _VALUE_BITS:
        raise SampleError(f"a brush has values of {value_bits} bits, and this program reads those of {_VALUE_BITS}")
    values = np.empty(num, np.uint8)
    cut_short = SampleError(f"a brush is cut short: its code does not fill {height} x {width} pixels")
    place, filled = _HEAD_BITS, 0
    while filled < num:
        block = bits[place : place + 3]
        if len(block) < 3:
            raise cut_short
        size = run_sizes[_number(block[1:])]
        length = _number(bits[place + 3 : place + 3 + size]) + 1
        place += 3 + size
        num_values = 1 if block[0] else length
        read = np.packbits(bits[place : place + num_values * _VALUE_BITS])
        place += num_values * _VALUE_BITS
        if place > len(bits) or filled + length > num:
            raise cut_short
        values[filled : filled + length] = read[0] if block[0] else read
        filled += length
    alpha = values.reshape(height, width, CHANNELS)[..., -1]
    return np.ascontiguousarray(alpha != 0)


def _number(bits: NDArray[np.uint8]) -> int:
    """The whole number of some bits, the highest first."""
    return int("".join(map(str, bits.tolist())) or "0", 2)


def _to_bits(codes: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Numbers as bits one after another, each in its own width, the highest bit first."""
    columns = np.arange(int(widths.max(initial=0)))
    shifts = widths[:, None] - 1 - columns
    bits = (codes[:, None] >> np.maximum(shifts, 0) & 1).astype(np.uint8)
    return bits[shifts >= 0]
