"""Opening sources by name."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from terrascope.errors import SceneError
from terrascope.sources import SOURCES, open_source
from terrascope.sources.chips import Index, read_all
from terrascope.sources.folder import Folder


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_opens_pickles_and_is_called_as_it_was_opened(name: str, tmp_path: Path) -> None:
    source = open_source(name, "3" if name == "synthetic" else tmp_path)
    assert source.name == name
    assert pickle.loads(pickle.dumps(source)) == source and hash(source) == hash(pickle.loads(pickle.dumps(source)))
    with pytest.raises(dataclasses.FrozenInstanceError):
        source.name = "another"  # type: ignore[misc]
    if name != "synthetic":
        with pytest.raises(SceneError, match=str(tmp_path)):
            source.index("train")


def test_every_entry_names_a_class_of_its_module() -> None:
    for kind in SOURCES.values():
        found = getattr(importlib.import_module(f"terrascope.sources.{kind.module}"), kind.class_name)
        assert dataclasses.is_dataclass(found) and kind.about


def test_generated_scenes_are_opened_by_their_number() -> None:
    source = open_source("synthetic", "3", size="64")
    assert source.index("train") == Index(entries=(("0", "0"), ("1", "1"), ("2", "2")))
    assert [chip.scene.shape for chip in read_all(source, "train")] == [(64, 64)] * 3


def test_options_given_as_text_are_what_their_fields_hold(tmp_path: Path) -> None:
    folder = open_source("folder", str(tmp_path), gsd_m="2.5", sensor="rgb", sar="none", labels="")
    assert folder == Folder(tmp_path, gsd_m=2.5, sensor="rgb", sar=None, labels="")
    assert open_source("xbd", tmp_path, by_place="no") == open_source("xbd", tmp_path, by_place=False)
    assert open_source("bigearthnet", tmp_path, bands="B02, B03,B04") == open_source(
        "bigearthnet", tmp_path, bands=["B02", "B03", "B04"]
    )


@pytest.mark.parametrize(
    ("name", "root", "options", "sentence"),
    [
        ("xview", ".", {}, r"unknown source 'xview'; choose one of hls-worldcover, .*, folder$"),
        ("folder", "gone", {}, r"^gone: no such folder; for folder, give a folder of images of your own"),
        ("ombria", ".", {"size": 3}, r"source ombria has no option 'size'; it has none$"),
        ("xbd", ".", {"size": "x"}, r"no option 'size'; it has nomenclature, by_place$"),
        ("folder", ".", {"gsd_m": "ten"}, r"folder: gsd_m is 'ten'; give a number$"),
        ("xbd", ".", {"by_place": "perhaps"}, r"xbd: by_place is 'perhaps'; say yes or no$"),
        ("synthetic", "many", {}, r"synthetic: num is 'many'; give a whole number$"),
        ("synthetic", "0", {}, r"source synthetic is asked for 0 chips; give at least 1$"),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(name: str, root: str, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(SceneError, match=sentence):
        open_source(name, root, **options)


def test_opening_one_source_imports_no_other() -> None:
    code = (
        "import sys, terrascope.sources as s; s.open_source('synthetic', '1');"
        "print(sorted(m.rpartition('.')[2] for m in sys.modules if m.startswith('terrascope.sources.')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['chips', 'generated', 'synthetic']"


def test_two_sources_of_a_kind_are_told_apart_by_what_they_are_called() -> None:
    source = open_source("synthetic", "3", called="villages")
    assert source.name == "villages" and source.read(source.index("train").entries[0].key).source == "villages"
