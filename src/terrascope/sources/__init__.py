"""Data sets that scenes and label maps come from. A new one is a file beside these and an entry in `SOURCES`."""

from __future__ import annotations

import dataclasses
import importlib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from terrascope.errors import SceneError

if TYPE_CHECKING:
    from terrascope.sources.chips import Source


class Kind(NamedTuple):
    """Where a source is, and in a few words what it is; its module is imported when it is opened."""

    module: str
    class_name: str
    about: str


SOURCES: Mapping[str, Kind] = {
    "hls-worldcover": Kind("hls_worldcover", "HlsWorldCover", "HLS chips with ESA WorldCover"),
    "ombria": Kind("ombria", "Ombria", "Sentinel-1 and -2 before and after floods"),
    "synthetic": Kind("generated", "Generated", "generated scenes; instead of a folder, how many of each split"),
    "bigearthnet": Kind("bigearthnet", "BigEarthNet", "BigEarthNet v2: Sentinel-1 and -2 with CORINE"),
    "chatearthnet": Kind("chatearthnet", "ChatEarthNet", "Sentinel-2 with captions and land cover"),
    "xbd": Kind("xbd", "Xbd", "buildings before and after disasters"),
    "teochat": Kind("teochat", "TeoChat", "TEOChatlas: questions about change"),
    "rsvqa": Kind("rsvqa", "RsvqaLr", "RSVQA-LR: Sentinel-2 with questions"),
    "whu-opt-sar": Kind("whu_opt_sar", "WhuOptSar", "WHU-OPT-SAR: optical and SAR with land cover"),
    "terracot": Kind("terracot_json", "TerraCotJson", "Terra-CoT as its authors publish it"),
    "folder": Kind("folder", "Folder", "images of your own, with label rasters and a legend"),
}
"""Every source by its name."""


def open_source(name: str, root: str | Path, *, called: str | None = None, **options: Any) -> Source:
    """A source by its name.

    Args:
        name: one of `SOURCES`.
        called: what the source, and every chip of it, is called; its name in `SOURCES` when None.
        root: its folder; of `synthetic` the number of chips of each split.
        options: the fields of its class. Text is taken for what the field holds: `"10"` for a number, `"yes"` for True,
            `"none"` for None, `"B02,B03"` for a tuple.

    Raises:
        SceneError: no such source, option or folder.
    """
    if name not in SOURCES:
        raise SceneError(f"unknown source {name!r}; choose one of {', '.join(SOURCES)}")
    kind = SOURCES[name]
    made: Any = getattr(importlib.import_module(f"{__name__}.{kind.module}"), kind.class_name)
    first, *others = (field.name for field in dataclasses.fields(made))
    known = [option for option in others if option != "name"]
    unknown = next((option for option in options if option not in known), None)
    if unknown is not None:
        there_is = f"it has {', '.join(known)}" if known else "it has none"
        raise SceneError(f"source {name} has no option {unknown!r}; {there_is}")
    hints = typing.get_type_hints(made)
    values = {option: _meant(value, hints[option], f"{name}: {option}") for option, value in options.items()}
    if hints[first] is int:
        given: Any = _meant(str(root), int, f"{name}: {first}")
        if given < 1:
            raise SceneError(f"source {name} is asked for {given} chips; give at least 1")
    else:
        given = Path(root)
        if not given.exists():
            raise SceneError(f"{given}: no such folder; for {name}, give a folder of {kind.about}")
    opened: Source = made(**{first: given, **values, "name": called or name})
    return opened


def _meant(value: Any, hint: Any, what: str) -> Any:
    """What a text stands for in a field of a type; a list is a tuple, all else is what it is."""
    if isinstance(value, list):
        return tuple(value)
    if not isinstance(value, str):
        return value
    among = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if types.NoneType in among and value.lower() == "none":
        return None
    if str in among:
        return value
    if any(typing.get_origin(one) is tuple for one in among):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if bool in among:
        if value.lower() in ("yes", "true", "1"):
            return True
        if value.lower() in ("no", "false", "0"):
            return False
        raise SceneError(f"{what} is {value!r}; say yes or no")
    number = next((one for one in (int, float) if one in among), None)
    try:
        return value if number is None else number(value)
    except ValueError:
        wanted = "a whole number" if number is int else "a number"
        raise SceneError(f"{what} is {value!r}; give {wanted}") from None
