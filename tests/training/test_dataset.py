"""What a data set gives of a store: which samples, with which scenes, the same in every process."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from terrascope.bench.items import show_only
from terrascope.errors import SampleError, SceneError
from terrascope.masks import encode_rle
from terrascope.model.processing import TerraScopeProcessor
from terrascope.sample import Sample, SampleMask
from terrascope.sources.chips import Chip, ChipError, Index
from terrascope.sources.generated import Generated
from terrascope.terracot.store import Store
from terrascope.training.batch import Batch, collate
from terrascope.training.dataset import DataSettings, TerraCotDataset
from terrascope.training.examples import Example
from terrascope.training.sampler import SceneBatchSampler
from tests.model.conftest import make_tiny
from tests.training.made_examples import make_example
from tests.training.made_store import SOURCE, made_samples, write_store


@dataclasses.dataclass(frozen=True)
class Watched:
    """The generated scenes, and a file in which every reading is written down."""

    log: Path
    name: str = "synthetic"

    def index(self, split: str) -> Index:
        return SOURCE.index(split)

    def read(self, key: str) -> Chip:
        with self.log.open("a") as file:
            file.write(f"{key}\n")
        return SOURCE.read(key)

    @property
    def num_read(self) -> int:
        return len(self.log.read_text().split()) if self.log.exists() else 0


@dataclasses.dataclass(frozen=True)
class Broken:
    name: str = "synthetic"

    def index(self, split: str) -> Index:
        return SOURCE.index(split)

    def read(self, key: str) -> Chip:
        raise ChipError(f"images/{key}.tif: cannot be read (truncated)", reason="unreadable image")


@pytest.fixture(scope="module")
def processor() -> TerraScopeProcessor:
    return make_tiny()[1]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return made_samples()


@pytest.fixture(scope="module")
def store(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("store") / "samples.parquet", samples)


def dataset_of(
    store: Store, processor: TerraScopeProcessor, cache: Path | None = None, **values: Any
) -> TerraCotDataset:
    return TerraCotDataset(store, {"synthetic": SOURCE}, processor, DataSettings(**values), scene_cache=cache)


def assert_same_example(one: Example, other: Example) -> None:
    assert one.sample_id == other.sample_id and one.scene_id == other.scene_id
    assert torch.equal(one.prompt.input_ids, other.prompt.input_ids)
    assert torch.equal(one.prompt.question, other.prompt.question)
    assert torch.equal(one.target.token_ids, other.target.token_ids)
    assert one.target.pairs == other.target.pairs and one.class_names == other.class_names
    for name in ("masks", "known", "injected"):
        mine, others = getattr(one.target, name), getattr(other.target, name)
        assert (mine is None) == (others is None)
        assert len(mine or ()) == len(others or ())
        assert all(torch.equal(a, b) for a, b in zip(mine or (), others or (), strict=True))


@pytest.mark.parametrize("shown", ["all", "optical", "sar"])
def test_every_sample_comes_as_it_is_made_from_its_scene(
    store: Store, samples: list[Sample], processor: TerraScopeProcessor, shown: Any, tmp_path: Path
) -> None:
    for dataset in [
        dataset_of(store, processor, shown=shown),
        *[dataset_of(store, processor, tmp_path, shown=shown)] * 2,
    ]:
        assert len(dataset) == len(samples) == len(dataset.scene_ids) == len(dataset.lengths)
        for number, sample in enumerate(samples[:9]):
            chip = SOURCE.read(sample.key)
            example, inputs = dataset[number]
            assert_same_example(example, make_example(processor, sample, chip.scene, chip.labels, shown=shown))
            seen = show_only(chip.scene, "both" if shown == "all" else shown)
            expected = processor.image_processor.prepare_scene(seen)
            assert torch.equal(inputs.tiles, expected.tiles.half())
            assert torch.equal(inputs.sam_images, expected.sam_images.half())
            assert inputs.modalities == expected.modalities and inputs.layouts == expected.layouts


def test_scenes_are_numbered(store: Store, samples: list[Sample], processor: TerraScopeProcessor) -> None:
    numbers = dataset_of(store, processor).scene_ids
    for sample, number in zip(samples, numbers.tolist(), strict=True):
        same = [other.key for other, scene in zip(samples, numbers.tolist(), strict=True) if scene == number]
        assert set(same) == {sample.key}


def test_settings_choose_samples(store: Store, samples: list[Sample], processor: TerraScopeProcessor) -> None:
    def chosen(**values: Any) -> list[str]:
        dataset = dataset_of(store, processor, **values)
        return [samples[row].id for row in dataset.rows.tolist()]

    assert chosen() == [sample.id for sample in samples]
    assert chosen(levels=("caption",)) == [sample.id for sample in samples if sample.level == "caption"]
    assert chosen(tasks=("area", "caption")) == [s.id for s in samples if s.task in ("area", "caption")]
    assert chosen(sources=("synthetic",), levels=("L1", "L2")) == [s.id for s in samples if s.level == "L1"]
    drawn = chosen(max_samples=7, seed=1)
    assert len(drawn) == 7 and drawn == sorted(drawn, key=chosen().index) == chosen(max_samples=7, seed=1)
    assert drawn != chosen(max_samples=7, seed=2)
    assert len(chosen(max_samples=10_000)) == len(samples)
    for values in ({"split": "val"}, {"levels": ("L2",)}, {"sources": ("xbd",)}, {"max_positions": 10}):
        with pytest.raises(SampleError, match="no sample is left to train on"):
            chosen(**values)


def test_long_samples_are_left_out_and_counted(store: Store, processor: TerraScopeProcessor) -> None:
    every = dataset_of(store, processor)
    limit = int(np.median(every.lengths))
    dataset = dataset_of(store, processor, max_positions=limit)
    fits = every.lengths <= limit
    assert dataset.rows.tolist() == every.rows[fits].tolist() and 0 < fits.sum() < len(every)
    assert dataset.lengths.tolist() == every.lengths[fits].tolist()
    assert dataset.left_out == {"too long": int((~fits).sum())} and every.left_out == {}


def test_samples_whose_scenes_have_no_such_image_are_left_out(
    samples: list[Sample], processor: TerraScopeProcessor, tmp_path: Path
) -> None:
    optical = [image for image in samples[0].images if image.modality == "optical"]
    mixed = [dataclasses.replace(samples[0], images=tuple(optical)), *samples[1:4]]
    dataset = dataset_of(write_store(tmp_path / "mixed.parquet", mixed), processor, shown="sar")
    assert dataset.rows.tolist() == [1, 2, 3] and dataset.left_out == {"without sar images": 1}


def test_a_sample_shows_the_images_that_it_lists(
    samples: list[Sample], processor: TerraScopeProcessor, tmp_path: Path
) -> None:
    kinds: list[Any] = ["optical", "sar", "all"]
    listed = [
        dataclasses.replace(samples[0], images=tuple(i for i in samples[0].images if kind in ("all", i.modality)))
        for kind in kinds
    ]
    assert samples[0].images == listed[2].images and len({image.modality for image in samples[0].images}) == 2
    dataset = dataset_of(write_store(tmp_path / "listed.parquet", listed), processor)
    assert sorted(dataset.scene_ids.tolist()) == [0, 1, 2], "each is a scene of its own"
    chip = SOURCE.read(samples[0].key)
    for number, kind in enumerate(kinds):
        example, inputs = dataset[number]
        assert_same_example(example, make_example(processor, samples[0], chip.scene, chip.labels, shown=kind))
        expected = processor.image_processor.prepare_scene(show_only(chip.scene, "both" if kind == "all" else kind))
        assert torch.equal(inputs.tiles, expected.tiles.half()) and inputs.modalities == expected.modalities
        assert (
            dataset.lengths[number]
            == dataset_of(write_store(tmp_path / f"{kind}.parquet", samples[:1]), processor, shown=kind).lengths[0]
        )


@pytest.mark.parametrize(("reasoning", "num"), [("grounded", 2), ("textual", 0), ("answer", 0)])
def test_reasoning_is_written_as_far_as_asked(
    store: Store, processor: TerraScopeProcessor, reasoning: Any, num: int
) -> None:
    example, _ = dataset_of(store, processor, reasoning=reasoning)[0]
    assert len(example.target.masks) == num == len(example.target.pairs)
    text = processor.tokenizer.decode(example.target.token_ids)
    assert text.startswith("<answer>" if reasoning == "answer" else "<think>") and text.count("[SEG]") == num


def test_a_scene_is_read_once_where_it_is_kept(
    store: Store, samples: list[Sample], processor: TerraScopeProcessor, tmp_path: Path
) -> None:
    source = Watched(tmp_path / "log")
    num_scenes = len({sample.key for sample in samples})
    for _ in range(2):
        dataset = TerraCotDataset(
            store, {"synthetic": source}, processor, DataSettings(), scene_cache=tmp_path / "scenes"
        )
        for number in reversed(range(len(dataset))):
            dataset[number]
        assert source.num_read == num_scenes
        assert len(dataset.lengths) == len(samples)
    assert len(list((tmp_path / "scenes").glob("lengths-*.npy"))) == 1
    fresh = TerraCotDataset(store, {"synthetic": source}, processor, DataSettings(), scene_cache=tmp_path / "other")
    assert len(fresh.lengths) == len(samples)
    assert source.num_read == num_scenes, "lengths need no scene"


def test_without_a_cache_a_scene_is_read_once_for_samples_in_a_row(
    store: Store, samples: list[Sample], processor: TerraScopeProcessor, tmp_path: Path
) -> None:
    dataset = TerraCotDataset(store, {"synthetic": Watched(tmp_path / "log")}, processor, DataSettings())
    first = [dataset[number][1] for number in range(3)]
    assert first[0] is first[1] is first[2] and samples[2].key == samples[0].key
    assert Watched(tmp_path / "log").num_read == 1


def test_noise_is_injected_and_the_truth_stays(store: Store, processor: TerraScopeProcessor) -> None:
    plain, noisy = dataset_of(store, processor), dataset_of(store, processor, mask_noise=0.8, seed=3)
    assert plain[0][0].target.injected is None
    differ = 0
    for number in range(8):
        target, truth = noisy[number][0].target, plain[number][0].target
        assert all(torch.equal(a, b) for a, b in zip(target.masks, truth.masks, strict=True))
        if truth.masks:
            assert target.injected is not None and len(target.injected) == len(truth.masks)
            differ += any(not torch.equal(a, b) for a, b in zip(target.injected, truth.masks, strict=True))
    assert differ >= 4
    again = dataset_of(store, processor, mask_noise=0.8, seed=3)
    assert_same_example(noisy[1][0], again[1][0])
    other, later = dataset_of(store, processor, mask_noise=0.8, seed=4), again
    later.set_epoch(1)
    for changed in (other, later):
        found, before = (
            [mask for number in range(8) for mask in dataset[number][0].target.injected or ()]
            for dataset in (changed, noisy)
        )
        assert any(not torch.equal(a, b) for a, b in zip(found, before, strict=True))
    later.set_epoch(0)
    assert_same_example(noisy[1][0], later[1][0])
    # A sample's noise does not depend on which others are there.
    few = dataset_of(store, processor, mask_noise=0.8, seed=3, tasks=("area",))
    assert_same_example(few[1][0], noisy[int(few.rows[1])][0])


def batches(dataset: TerraCotDataset, num_workers: int, context: str | None, epochs: int = 1) -> list[Batch]:
    sampler = SceneBatchSampler(dataset.lengths, dataset.scene_ids, 4, seed=0)
    loader = DataLoader(
        dataset,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=num_workers,
        multiprocessing_context=context,
        persistent_workers=num_workers > 0,
    )
    found: list[Batch] = []
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        sampler.set_epoch(epoch)
        found += list(loader)
    return found


@pytest.mark.parametrize(("context", "num_workers"), [("fork", 2), ("spawn", 1)])
def test_other_processes_give_the_same_batches(
    store: Store, processor: TerraScopeProcessor, tmp_path: Path, context: str, num_workers: int
) -> None:
    if context not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {context}")
    values = {"max_samples": 16, "mask_noise": 0.5}
    here = batches(dataset_of(store, processor, tmp_path / "one", **values), 0, None, epochs=2)
    there = batches(dataset_of(store, processor, tmp_path / "two", **values), num_workers, context, epochs=2)
    assert len(here) == len(there) == 8
    for one, other in zip(here, there, strict=True):
        assert one.scene_ids == other.scene_ids and one.owners == other.owners
        for a, b in zip(one.scenes, other.scenes, strict=True):
            assert torch.equal(a.tiles, b.tiles) and torch.equal(a.sam_images, b.sam_images)
        for mine, others in zip(one.examples, other.examples, strict=True):
            assert_same_example(mine, others)
    first, second = ({e.sample_id: e for b in here[n : n + 4] for e in b.examples} for n in (0, 4))
    assert first.keys() == second.keys()
    assert any(
        not torch.equal(a, b)
        for name, one in first.items()
        for a, b in zip(one.target.injected or (), second[name].target.injected or (), strict=True)
    ), "noise of another epoch also in workers that stay"


def test_a_missing_source_is_named(store: Store, processor: TerraScopeProcessor) -> None:
    with pytest.raises(SampleError, match=r"samples\.parquet: scenes of synthetic are needed.*synthetic=DIR") as error:
        TerraCotDataset(store, {"ombria": SOURCE}, processor, DataSettings())
    assert ". " not in str(error.value).replace("e.g. ", ""), "one sentence"


def test_a_chip_that_cannot_be_read_is_named_with_its_sample(
    store: Store, samples: list[Sample], processor: TerraScopeProcessor, tmp_path: Path
) -> None:
    for cache in (None, tmp_path):
        dataset = TerraCotDataset(store, {"synthetic": Broken()}, processor, DataSettings(), scene_cache=cache)
        with pytest.raises(SceneError, match=rf"sample {samples[0].id}: images/0\.tif: cannot be read"):
            dataset[0]


def test_a_source_opened_otherwise_is_found_out(store: Store, processor: TerraScopeProcessor) -> None:
    dataset = TerraCotDataset(store, {"synthetic": Generated(num=8, size=48)}, processor, DataSettings())
    with pytest.raises(SampleError, match="64 x 64 pixels and its scene 48 x 48"):
        dataset[0]


def test_a_damaged_mask_is_named(samples: list[Sample], processor: TerraScopeProcessor, tmp_path: Path) -> None:
    cut = SampleMask(counts=encode_rle(np.ones((64, 32), bool))["counts"], image=1, class_name="water")
    wrong = dataclasses.replace(samples[0], masks=(cut, *samples[0].masks[1:]))
    dataset = dataset_of(write_store(tmp_path / "wrong.parquet", [wrong]), processor)
    with pytest.raises(SampleError, match=f"sample {wrong.id}: mask 1: "):
        dataset[0]
    with pytest.raises(SampleError, match=f"sample {wrong.id}: mask 1: "):
        assert len(dataset.lengths)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"levels": ("L3",)}, "levels: 'L3' is unknown"),
        ({"reasoning": "long"}, "reasoning: 'long' is unknown; choose of grounded, textual, answer"),
        ({"shown": "radar"}, "shown: 'radar' is unknown"),
        ({"mask_noise": 2.0}, r"mask_noise is 2\.0"),
        ({"max_samples": 0}, "max_samples is 0"),
        ({"max_positions": -1}, "max_positions is -1"),
    ],
)
def test_settings_that_there_are_not_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(SampleError, match=told):
        DataSettings(**values)
