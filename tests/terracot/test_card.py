"""The data card: `datasets` goes by it, and it says what is in the data set and what is not."""

from __future__ import annotations

import builtins
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from terrascope.errors import OutputError
from terrascope.sample import arrow_schema
from terrascope.terracot.card import LICENCES, Making, write_card
from terrascope.terracot.stats import Summary, summarize
from tests.terracot.made_samples import SAMPLE

MAKING = Making(
    name="Made | up",
    seed=17,
    data_files={"train": "train-*.parquet", "val": "val-*.parquet"},
    skipped={"xbd": {"no label": 3}},
    failed={"unreadable image": 4},
    rejected={"a stated share is wrong": 1234},
    held_out="the scenes of a benchmark",
    settings={"Chips a shard": "500"},
)


def test_datasets_loads_the_folder_by_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    for split, num in (("train", 3), ("val", 2)):
        rows = [replace(SAMPLE, id=f"{split}{number}", split=split).to_row() for number in range(num)]
        pq.write_table(pa.Table.from_pylist(rows, schema=arrow_schema()), tmp_path / f"{split}-00000.parquet")
    write_card(tmp_path, summarize([SAMPLE]), MAKING)
    loaded = datasets.load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in loaded.items()} == {"train": 3, "validation": 2}
    assert type(SAMPLE).from_row(loaded["validation"][1]) == replace(SAMPLE, id="val1", split="val")


def test_the_card_says_how_it_was_made_and_what_was_left_out(tmp_path: Path) -> None:
    samples = [SAMPLE, replace(SAMPLE, source="xbd", key="b"), replace(SAMPLE, source="chatearthnet", key="c")]
    files = write_card(tmp_path, summarize(samples), MAKING)
    text = files["README.md"].read_text(encoding="utf-8")
    matter = yaml.safe_load(text.split("---")[1])
    assert matter["configs"][0]["data_files"][1] == {"split": "validation", "path": "val-*.parquet"}
    assert matter["size_categories"] == ["n<1K"] and matter["license"] == "other"
    for line in (
        "# Made | up",
        "- Seed: 17",
        "- Kept apart for tests: the scenes of a benchmark",
        "- Chips a shard: 500",
        "| xbd: no label | 3 | 100.0 % |",
        "| unreadable image | 4 | 100.0 % |",
        "| a stated share is wrong | 1,234 | 100.0 % |",
        "| L1/ranking | 3 | 100.0 % |",
        "| xbd | xBD | CC BY-NC-SA 4.0 |",
        f"| chatearthnet | ChatEarthNet | {LICENCES['chatearthnet'].terms} |",
        "| made | made | not known to this program; ask the owner of the data before you pass them on |",
        "Not for commercial use, because of: xbd.",
    ):
        assert line in text.splitlines(), line
    for name in files:
        assert name == "README.md" or f"]({name})" in text


@pytest.mark.parametrize(
    ("num", "category"), [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (2_000_000, "1M<n<10M"), (10**7, "n>10M")]
)
def test_the_size_is_told_in_the_hub_s_words(tmp_path: Path, num: int, category: str) -> None:
    write_card(tmp_path, Summary(num_samples=num, levels={"L1": num} if num else {}), MAKING)
    matter = yaml.safe_load((tmp_path / "README.md").read_text().split("---")[1])
    assert matter["size_categories"] == [category]


def test_text_of_strangers_breaks_no_table(tmp_path: Path) -> None:
    evil = "a|b\n| c | <script>"
    write_card(tmp_path, summarize([replace(SAMPLE, source=evil)]), MAKING)
    lines = (tmp_path / "README.md").read_text(encoding="utf-8").splitlines()
    assert "| a\\|b \\| c \\| &lt;script> | 1 | 100.0 % |" in lines
    assert not [line for line in lines if "<script" in line]


def test_the_plots_are_pictures_below_200_kb_even_of_much(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    full = Summary(
        num_samples=10**6,
        num_chips=500_000,
        num_located=400_000,
        levels={"referring": 10, "caption": 250_000, "L1": 500_000, "L2": 250_000},
        sources={f"source {number}": 100_000 for number in range(12)},
        sources_of_subsets={
            name: {f"source {number}": 1 + number for number in range(12)} for name in ("Cap-CoT", "VQA-CoT")
        },
        classes={f"class with a name {number}": 40 - number for number in range(40)},
        located=np.where(rng.random((180, 360)) < 0.3, rng.integers(1, 3000, (180, 360)), 0),
    )
    files = write_card(tmp_path, full, MAKING)
    assert set(files) == {"README.md", *(f"card/{name}.png" for name in ("places", "sources", "tiers", "classes"))}
    for name, path in files.items():
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert image.width > 700 and len(image.convert("RGB").getcolors(1 << 20)) > 10, name
            assert path.stat().st_size < 200_000, (name, path.stat().st_size)


def test_the_same_data_give_the_same_files_and_places_only_where_some_are_known(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_card(tmp_path / folder, summarize([SAMPLE]), MAKING)
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
    files = write_card(tmp_path / "a", summarize([replace(SAMPLE, lon=None, lat=None)]), MAKING)
    assert "card/places.png" not in files and not (tmp_path / "a" / "card" / "places.png").exists()


def test_without_matplotlib_the_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(OutputError, match="pip install matplotlib"):
        write_card(tmp_path, summarize([SAMPLE]), MAKING)
