"""Released checkpoints used under their own name: from a folder, from the hub's cache, by several at once."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from terrascope.errors import ModelError, OutputError
from terrascope.model import hub
from terrascope.model.release.arrival import fetch, imported, is_released
from terrascope.model.terrascope import TerraScope
from tests.model.release.conftest import Checkpoint

HANG = """
import sys, time
from pathlib import Path
from terrascope.model.release.arrival import imported
def hang(done, total):
    print(done, flush=True)
    time.sleep(600)
imported(Path(sys.argv[1]), hang)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TERRASCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "imported"


def visible(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir() if not path.name.endswith(".lock"))


def test_it_is_imported_once_and_again_when_its_files_change(checkpoint: Checkpoint, cache: Path) -> None:
    source = shutil.copytree(checkpoint.released, cache.parent.parent / "source")
    told: list[str] = []
    steps: list[tuple[int, int]] = []
    first = TerraScope.from_pretrained(str(source), tell=told.append, progress=lambda *n: steps.append(n))
    (name,) = visible(cache)
    assert told[:1] == [f"importing {source} into {cache / name}, once"] and steps[-1][0] == steps[-1][1] > 100
    assert first.name == str(source)
    weight = checkpoint.model.state_dict()["vlm.lm_head.weight"]
    assert torch.equal(first.model.state_dict()["vlm.lm_head.weight"], weight)
    told.clear()
    assert imported(source, tell=told.append) == cache / name and told == []
    (source / "notes.txt").write_text("no part of the checkpoint")
    assert imported(source) == cache / name
    os.utime(source / "model.safetensors", ns=(0, 0))
    assert imported(source) != cache / name and len(visible(cache)) == 2


def test_a_hub_repository_in_the_cache_is_imported_without_a_network(
    checkpoint: Checkpoint, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = tmp_path / "hub" / "models--owner--released"
    shutil.copytree(checkpoint.released, repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(hub, "hub_answers", lambda: False)
    assert is_released(fetch("owner/released"))
    front = TerraScope.from_pretrained("owner/released")
    assert front.name == "owner/released" and front.model.config.token_rule == "center"
    paper = TerraScope.from_pretrained("owner/released", profile="paper")
    assert paper.model.config.token_rule == "coverage" and len(visible(cache)) == 1
    with pytest.raises(ModelError, match="owner/other: the hub cannot be reached, and this model was not fetched"):
        TerraScope.from_pretrained("owner/other")
    with pytest.raises(ModelError, match="nowhere: no such folder; give the folder of a released checkpoint"):
        fetch("nowhere")


def test_of_two_at_once_one_imports_and_the_other_waits(checkpoint: Checkpoint, cache: Path) -> None:
    told: list[str] = []

    def ask(_: int) -> Path:
        return imported(checkpoint.released, lambda done, total: time.sleep(0.2), told.append)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(ask, range(2))
    assert first == second and visible(cache) == [first.name] and len(told) == 1


def test_what_a_killed_import_leaves_is_removed_by_the_next(checkpoint: Checkpoint, cache: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HANG, str(checkpoint.released)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline()
    process.kill()
    process.communicate()
    (left,) = visible(cache)
    assert left.startswith(".")
    began = time.monotonic()
    target = imported(checkpoint.released)
    assert visible(cache) == [target.name] and time.monotonic() - began < 30


def test_a_damaged_checkpoint_leaves_nothing_and_is_named(checkpoint: Checkpoint, cache: Path) -> None:
    source = shutil.copytree(checkpoint.released, cache.parent.parent / "source")
    (source / "model.safetensors").write_bytes((source / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"model\.safetensors: is damaged or cut short"):
        TerraScope.from_pretrained(str(source))
    assert visible(cache) == []


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("model.safetensors", b"12345678", r"model\.safetensors: is damaged or cut short"),
        ("config.json", b"{", r"config\.json: cannot be read as JSON"),
        ("tokenizer.json", None, r"tokenizer\.json: no such file"),
        ("conversion.json", b'{"num_tensors": 7}', r"\d+ of 7 tensors are left"),
    ],
)
def test_an_import_that_was_damaged_is_made_anew(
    checkpoint: Checkpoint, cache: Path, name: str, content: bytes | None, why: str
) -> None:
    target = imported(checkpoint.released)
    whole = (target / name).read_bytes()
    (target / name).unlink()
    if content is not None:
        (target / name).write_bytes(content)
    told: list[str] = []
    assert imported(checkpoint.released, tell=told.append) == target
    assert (target / name).read_bytes() == whole and visible(cache) == [target.name]
    assert len(told) == 2 and told[1] == f"importing {checkpoint.released} into {target}, once"
    assert re.fullmatch(rf"{re.escape(str(target))} was damaged since it was imported, .* anew \(.*{why}.*\)", told[0])


def test_a_cache_that_cannot_be_written_is_named(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TERRASCOPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match=r"cannot be written \(Not a directory\); name another folder in TERRASCOPE"):
        imported(checkpoint.released)
