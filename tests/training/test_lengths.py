"""Lengths that were counted without a scene are those of the sequences that are built with it."""

from __future__ import annotations

import types
from pathlib import Path

import numpy as np
import pytest
import torch

from terrascope.bench.items import show_only
from terrascope.model.encoding import encode_scene
from terrascope.sample import Sample
from terrascope.training.examples import Reasoning, Shown
from terrascope.training.lengths import Lengths
from terrascope.training.sequence import build_sequence
from tests.model.conftest import Loaded, make_tiny
from tests.training.made_examples import make_example
from tests.training.made_store import SOURCE, made_samples, write_store


@pytest.fixture(scope="module")
def tiny() -> Loaded:
    return make_tiny()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return made_samples(4)


def built_length(tiny: Loaded, sample: Sample, reasoning: Reasoning, shown: Shown) -> int:
    model, processor = tiny
    chip = SOURCE.read(sample.key)
    example = make_example(processor, sample, chip.scene, chip.labels, reasoning=reasoning, shown=shown)
    with torch.no_grad():
        seen = show_only(chip.scene, "both" if shown == "all" else shown)
        encoded = encode_scene(model, processor.image_processor.prepare_scene(seen))
        pairs = [{kind: encoded.context[place] for kind, place in pair.items()} for pair in encoded.pairs]
        return len(build_sequence(model, example.prompt, pairs, encoded.inputs.layouts, example.target).labels)


@pytest.mark.parametrize("shown", ["all", "sar"])
@pytest.mark.parametrize("reasoning", ["grounded", "answer"])
def test_lengths_are_those_of_the_sequences(
    tiny: Loaded, samples: list[Sample], reasoning: Reasoning, shown: Shown
) -> None:
    lengths = Lengths(tiny[1], tiny[0].config, reasoning, shown)
    some = [*samples[:8], samples[-1]]
    found = [lengths.num_positions(sample) for sample in some]
    assert found == [built_length(tiny, sample, reasoning, shown) for sample in some]
    assert len(set(found)) > (2 if reasoning == "grounded" else 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"interleave": "box"},
        {"interleave": "none"},
        {"interleave": "random"},
        {"interleave": "random", "random_tokens": 5},
        {"modalities": "concatenate"},
        {"prompt_modalities": "optical"},
        {"max_masked_tokens": 3},
        {"merged_side": 2},
        {"merged_side": 3, "interleave": "box", "modalities": "concatenate"},
    ],
)
def test_lengths_follow_the_rules_of_the_model(
    tiny: Loaded, samples: list[Sample], settings: dict[str, str | int]
) -> None:
    model, processor = make_tiny()
    for name, value in settings.items():
        setattr(model.config, name, value)
    if "prompt_modalities" in settings:
        processor.prompt_modalities = "optical"
    lengths = Lengths(processor, model.config, "grounded", "all")
    found = [lengths.num_positions(sample) for sample in samples[:4]]
    assert found == [built_length((model, processor), sample, "grounded", "all") for sample in samples[:4]]
    plain = [Lengths(tiny[1], tiny[0].config, "grounded", "all").num_positions(sample) for sample in samples[:4]]
    assert (found == plain) == (settings == {"interleave": "random"}), "as many at random as under the mask"


def test_where_similarity_decides_the_most_that_can_follow_is_counted(samples: list[Sample]) -> None:
    model, processor = make_tiny()
    model.config.interleave, model.config.max_masked_tokens = "similar", 5
    counted = Lengths(processor, model.config, "grounded", "all").num_positions(samples[0])
    assert 0 <= counted - built_length((model, processor), samples[0], "grounded", "all") <= 5 * len(samples[0].masks)


def test_lengths_are_counted_once(
    tiny: Loaded,
    samples: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        "terrascope.training.lengths._log", types.SimpleNamespace(warning=lambda text, *told: said.append(text % told))
    )
    store = write_store(tmp_path / "samples.parquet", samples)
    rows = np.array([0, 2, 5])
    (tmp_path / "cache").mkdir()
    lengths = Lengths(tiny[1], tiny[0].config, "grounded", "all")
    counted = lengths.read_or_count(store, rows, tmp_path / "cache")
    assert counted.dtype == np.int32
    assert counted.tolist() == [lengths.num_positions(samples[row]) for row in rows]
    (path,) = (tmp_path / "cache").iterdir()
    assert path.name.startswith("lengths-") and path.suffix == ".npy"

    other = Lengths(tiny[1], tiny[0].config, "answer", "all").read_or_count(store, rows, tmp_path / "cache")
    more = lengths.read_or_count(store, np.array([0, 2, 6]), tmp_path / "cache")
    assert other.tolist() != counted.tolist() and more[:2].tolist() == counted[:2].tolist()
    assert len(list((tmp_path / "cache").iterdir())) == 3

    path.write_bytes(path.read_bytes()[:-3])
    assert lengths.read_or_count(store, rows, tmp_path / "cache").tolist() == counted.tolist()
    assert len(said) == 1 and path.name in said[0]
    monkeypatch.setattr(Lengths, "num_positions", lambda *_: pytest.fail("kept"))
    assert lengths.read_or_count(store, rows, tmp_path / "cache").tolist() == counted.tolist()
