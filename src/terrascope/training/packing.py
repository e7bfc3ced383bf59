"""Many small tensors as one, for the way from a loader's process.

Every tensor that is shared takes a file descriptor, and a process that has none left waits for ever.
"""

from __future__ import annotations

import io
import pickle
from typing import Any, NamedTuple

import torch
from torch import Tensor

_ALIGNED = 16


class _Place(NamedTuple):
    """Where a tensor lies in the buffer, in bytes."""

    start: int
    stop: int
    dtype: torch.dtype
    shape: tuple[int, ...]


class Packed(NamedTuple):
    """An object without its tensors, and the tensors in one buffer uint8 `[bytes]`."""

    told: bytes
    places: tuple[_Place, ...]
    buffer: Tensor


class _Packer(pickle.Pickler):
    """Leaves tensors of the CPU out, each once however often it occurs."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.numbers: dict[int, int] = {}
        self.tensors: list[Tensor] = []

    def persistent_id(self, obj: Any) -> int | None:
        if not isinstance(obj, Tensor) or obj.device.type != "cpu":
            return None
        if id(obj) not in self.numbers:
            self.numbers[id(obj)] = len(self.tensors)
            self.tensors.append(obj)
        return self.numbers[id(obj)]


class _Unpacker(pickle.Unpickler):
    def __init__(self, packed: Packed) -> None:
        super().__init__(io.BytesIO(packed.told))
        self.tensors = [
            packed.buffer[place.start : place.stop].view(place.dtype).view(place.shape) for place in packed.places
        ]

    def persistent_load(self, pid: int) -> Tensor:
        return self.tensors[pid]


def pack(value: Any) -> Packed:
    """Any object that can be pickled, with its tensors side by side in one."""
    file = io.BytesIO()
    packer = _Packer(file)
    packer.dump(value)
    places, stop = [], 0
    for tensor in packer.tensors:
        start = -(-stop // _ALIGNED) * _ALIGNED
        stop = start + tensor.numel() * tensor.element_size()
        places.append(_Place(start, stop, tensor.dtype, tuple(tensor.shape)))
    buffer = torch.empty(stop, dtype=torch.uint8)
    for tensor, place in zip(packer.tensors, places, strict=True):
        buffer[place.start : place.stop] = tensor.detach().contiguous().flatten().view(torch.uint8)
    return Packed(file.getvalue(), tuple(places), buffer)


def unpack(packed: Packed) -> Any:
    """What was packed; its tensors are views of the buffer."""
    return _Unpacker(packed).load()
