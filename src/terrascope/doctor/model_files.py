"""The files of a model: all there, readable, whole, and finite; and whether the model loads."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import terrascope
from terrascope.doctor.finding import Finding, ProbeError, probe

JSON_FILES = ("config.json", "processor_config.json", "tokenizer.json")
WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
READING_SECONDS = 30.0
"""Time after which no further tensor is read in search of numbers that are none."""

_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2}
_BYTES |= {"I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8}
_EXPONENTS: dict[str, tuple[str, int]] = {
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
    "F32": ("<u4", 0x7F800000),
    "F64": ("<u8", 0x7FF0000000000000),
}
"""By type: how a number's bits are read, and those that are all 1 in infinity and NaN."""

_LOAD = """
import json
from terrascope.model.checkpoint import load
from terrascope.errors import TerraScopeError
try:
    model, _ = load({name!r})
except TerraScopeError as error:
    raise SystemExit(str(error))
print(json.dumps(sum(parameter.numel() for parameter in model.parameters())))
"""


_CHECK_RELEASE = """
import json
from pathlib import Path
from terrascope.model.release.convert import read_release
from terrascope.errors import TerraScopeError
try:
    read_release(Path({folder!r}))
except TerraScopeError as error:
    raise SystemExit(str(error))
print(json.dumps(None))
"""


class _DamagedError(Exception):
    """A file of the model is not as it must be; says which and how."""


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    name: str
    dtype: str
    first: int
    last: int


RELEASED = "sa2va_chat"
"""What the authors' released checkpoints call themselves; they are imported when they are first used."""


def check_model(name: str) -> Sequence[Finding]:
    """The files of the model, then a load in another process. A model of the hub is looked for in the cache only."""
    folder = _folder_of(name)
    if folder is None:
        found = f"{name!r} is not on this machine"
        if name.count("/") == 1 and not name.startswith((".", "/", "~")):
            return [Finding(name="model", status="WARN", found=found, advice="its first use fetches it from the hub")]
        return [
            Finding(name="model", status="FAIL", found=found, advice="give nano, a folder, or a hub id (owner/name)")
        ]
    advice = "reinstall the package" if name == "nano" else "fetch or save the model again"
    try:
        files = _check_files(folder)
    except (_DamagedError, OSError) as error:
        return [Finding(name="model", status="FAIL", found=f"{name}: {error}", advice=advice)]
    if _read_json(folder / "config.json").get("model_type") == RELEASED:
        return [_check_release(name, folder, files)]
    began = time.monotonic()
    try:
        num_parameters = probe(_LOAD.format(name=name), seconds=600, environment={"HF_HUB_OFFLINE": "1"})
    except ProbeError as error:
        found = f"{name}: its files are sound ({files}), but it does not load ({error})"
        return [Finding(name="model", status="FAIL", found=found, advice="mend what is said of torch and transformers")]
    loaded = f"{num_parameters / 1e6:.1f} million parameters, loads in {time.monotonic() - began:.0f} s"
    return [Finding(name="model", found=f"{name}: {files}; {loaded}")]


def _check_release(name: str, folder: Path, files: str) -> Finding:
    """Whether a released checkpoint can be imported: its configuration, its tokenizer, the headers of its files."""
    try:
        probe(_CHECK_RELEASE.format(folder=str(folder)), seconds=600, environment={"HF_HUB_OFFLINE": "1"})
    except ProbeError as error:
        found = f"{name}: a released checkpoint that cannot be imported ({error})"
        return Finding(name="model", status="FAIL", found=found, advice="fetch the checkpoint again")
    return Finding(name="model", found=f"{name}: {files}; a released checkpoint, imported at its first use")


def _folder_of(name: str) -> Path | None:
    embedded = Path(terrascope.__file__).parent / "weights" / name
    if name.strip() and "/" not in name and embedded.is_dir():
        return embedded
    if name.strip() and Path(name).is_dir():
        return Path(name)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        return None
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json")
    return Path(cached).parent if isinstance(cached, str) else None


def _check_files(folder: Path) -> str:
    """Check every file of a model; says what was checked."""
    kind = _read_json(folder / "config.json").get("model_type")
    if kind not in ("terrascope", RELEASED):
        raise _DamagedError(f"{folder / 'config.json'} says model_type {kind!r}, not 'terrascope' or {RELEASED!r}")
    # A released checkpoint has no processor of its own.
    for name in JSON_FILES if kind != RELEASED else ():
        _read_json(folder / name)
    deadline = time.monotonic() + READING_SECONDS
    tensors = read = 0
    for path in _weight_files(folder):
        header = _read_header(path)
        tensors += len(header)
        read += _check_finite(path, header, deadline)
    unread = "" if read == tensors else f" ({tensors - read} not read, to save time)"
    return f"{tensors} tensors, all finite{unread}"


def _weight_files(folder: Path) -> list[Path]:
    if not (folder / WEIGHTS_INDEX).is_file():
        return [folder / WEIGHTS]
    places = _read_json(folder / WEIGHTS_INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise _DamagedError(f"{folder / WEIGHTS_INDEX} holds no weight_map")
    return [folder / str(name) for name in sorted(set(places.values()), key=str)]


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise _DamagedError(f"{path} is missing")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _DamagedError(f"{path} is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise _DamagedError(f"{path} holds no JSON object")
    return content


def _read_header(path: Path) -> list[_Tensor]:
    """The tensors of a safetensors file, in the order of their bytes, which fill the file without gap or overlap."""
    if not path.is_file():
        raise _DamagedError(f"{path} is missing")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            raise _DamagedError(f"{path} is cut short: its header claims {length} of {size} bytes")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            tensors = [_tensor(name, entry) for name, entry in header.items()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _DamagedError(f"{path} has a damaged header ({type(error).__name__}: {error})") from None
    tensors.sort(key=lambda tensor: tensor.first)
    place = 0
    for tensor in tensors:
        if tensor.first != place:
            raise _DamagedError(f"{path}: tensor {tensor.name} begins at byte {tensor.first}, not {place}")
        place = tensor.last
    if 8 + length + place != size:
        raise _DamagedError(f"{path} has {size} bytes, but its tensors need {8 + length + place}")
    return tensors


def _tensor(name: str, entry: dict[str, Any]) -> _Tensor:
    first, last = entry["data_offsets"]
    if entry["dtype"] not in _BYTES:
        raise ValueError(f"tensor {name} is of unknown type {entry['dtype']}")
    if last - first != _BYTES[entry["dtype"]] * math.prod(entry["shape"]):
        raise ValueError(f"tensor {name} of shape {entry['shape']} has {last - first} bytes")
    return _Tensor(name=name, dtype=entry["dtype"], first=first, last=last)


def _check_finite(path: Path, tensors: Sequence[_Tensor], deadline: float) -> int:
    """Number of tensors that were read before the deadline; none of them holds NaN or infinity."""
    import numpy as np

    start = path.stat().st_size - (tensors[-1].last if tensors else 0)
    for number, tensor in enumerate(tensors):
        if time.monotonic() > deadline:
            return number
        if tensor.dtype in _EXPONENTS and tensor.last > tensor.first:
            code, exponent = _EXPONENTS[tensor.dtype]
            count = (tensor.last - tensor.first) // np.dtype(code).itemsize
            bits = np.memmap(path, code, mode="r", offset=start + tensor.first, shape=(count,))
            if ((bits & np.asarray(exponent, code)) == exponent).any():
                raise _DamagedError(f"{path}: tensor {tensor.name} holds NaN or infinity")
    return len(tensors)
