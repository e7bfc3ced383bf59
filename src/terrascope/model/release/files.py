"""The files of a checkpoint: where its tensors lie, and writing tensors in shards without holding more than one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from terrascope.errors import ModelError
from terrascope.model.fields import first_of

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""Number formats by the names that safetensors gives them."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One tensor of a checkpoint: its name there, the file that holds it, its shape and number format."""

    name: str
    path: Path
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def num_bytes(self) -> int:
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        ModelError: it is missing, or no JSON object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; a checkpoint needs it") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{path}: cannot be read as JSON ({error})") from None
    if not isinstance(found, dict):
        raise ModelError(f"{path}: holds no JSON object")
    return found


def list_tensors(folder: Path) -> dict[str, Stored]:
    """All tensors of a checkpoint by name, from the headers of its files alone.

    Raises:
        ModelError: there are no safetensors, a shard is missing or cut short, or a name stands in two shards.
    """
    if (folder / INDEX).exists():
        weight_map = read_json(folder / INDEX).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise ModelError(f"{folder / INDEX}: has no weight_map from tensors to files")
        shards = sorted(set(weight_map.values()))
    else:
        weight_map, shards = None, sorted(path.name for path in folder.glob("*.safetensors"))
    if not shards:
        pickled = sorted(path.name for path in (*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")))
        hint = f"; {pickled[0]} is a pickle, which may run code when it is opened" if pickled else ""
        raise ModelError(f"{folder}: holds no .safetensors file{hint}")
    tensors: dict[str, Stored] = {}
    for shard in shards:
        for name, stored in _header(folder / shard).items():
            if name in tensors:
                raise ModelError(f"{folder}: the tensor {name} stands in {tensors[name].path.name} and in {shard}")
            tensors[name] = stored
    lost = sorted(set(weight_map or ()) - set(tensors))
    if lost:
        raise ModelError(f"{folder / INDEX}: names {first_of(lost, 'tensors')}, but no shard holds it")
    return tensors


def _header(path: Path) -> dict[str, Stored]:
    try:
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in list(file.keys())}
            return {
                name: Stored(name=name, path=path, shape=tuple(s.get_shape()), dtype=DTYPES[s.get_dtype()])
                for name, s in slices.items()
            }
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file; the checkpoint lacks a shard") from None
    except KeyError as error:
        raise ModelError(f"{path}: holds numbers in the unknown format {error.args[0]}") from None
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: is damaged or cut short ({error})") from None


def first_rows(stored: Stored, num: int = 64) -> Tensor:
    """The first rows of a matrix, enough to tell it from another one."""
    with safe_open(stored.path, framework="pt") as file:
        return file.get_slice(stored.name)[:num]


def in_bytes(number: int) -> str:
    """A number of bytes as people read it: 16.4 GB, 23 MB, 4 kB."""
    if number >= 1e9:
        return f"{number / 1e9:.1f} GB"
    return f"{number / 1e6:.0f} MB" if number >= 1e6 else f"{-(-number // 1000)} kB"


def plan_shards(sizes: Mapping[str, int], max_bytes: int) -> list[list[str]]:
    """Names in their order, cut into shards of at most `max_bytes`, or one tensor where that is larger."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, size in sizes.items():
        if shards[-1] and filled + size > max_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards


def write_shards(
    folder: Path, shards: Iterable[list[str]], load: Callable[[str], Tensor], done: Callable[[int], None]
) -> None:
    """Write tensors shard by shard; `load` gives one by its name, `done` is told the number of each shard's tensors.

    Raises:
        OSError: a file cannot be written.
    """
    shards = list(shards)
    names = (
        [SINGLE]
        if len(shards) == 1
        else [f"model-{i + 1:05}-of-{len(shards):05}.safetensors" for i in range(len(shards))]
    )
    weight_map: dict[str, str] = {}
    total = 0
    for file, members in zip(names, shards, strict=True):
        tensors = {name: load(name).contiguous() for name in members}
        try:
            save_file(tensors, folder / file, metadata={"format": "pt"})
        except SafetensorError as error:
            # A full disk, in the library's words.
            raise OSError(str(error).rpartition("I/O error: ")[2]) from None
        weight_map |= dict.fromkeys(members, file)
        total += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
        # Or this shard would stay in memory until the next one is complete.
        del tensors
        done(len(members))
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
