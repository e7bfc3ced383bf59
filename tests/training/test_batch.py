"""A batch holds each scene once and knows whose it is; its pixels move and nothing else does."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from terrascope.model.processing import SceneInputs
from terrascope.training.batch import Batch, collate
from terrascope.training.examples import Example
from terrascope.training.scene_cache import prepare_scene
from tests.model.conftest import make_tiny
from tests.training.made_examples import make_example
from tests.training.made_store import SOURCE, samples_of


@pytest.fixture(scope="module")
def items() -> list[tuple[Example, SceneInputs]]:
    """Samples of scenes 1, 0, 1, 2, 0; those of scene 1 come with tensors of their own, as two loads give them."""
    _, processor = make_tiny()
    found = []
    for key, number in (("1", 0), ("0", 0), ("1", 1), ("2", 0), ("0", 2)):
        chip = SOURCE.read(key)
        sample = samples_of(chip)[number]
        example = make_example(processor, sample, chip.scene, chip.labels)
        found.append((example, prepare_scene(processor, chip.scene, chip.labels).inputs))
    return found


def test_scenes_come_once_in_the_order_of_their_first_sample(items: Sequence[tuple[Example, SceneInputs]]) -> None:
    batch = collate(items)
    assert batch.scene_ids == ("synthetic/1", "synthetic/0", "synthetic/2")
    assert batch.owners == (0, 1, 0, 2, 1)
    assert batch.examples == tuple(example for example, _ in items)
    assert batch.scenes == (items[0][1], items[1][1], items[3][1])
    for example, owner, (_, inputs) in zip(batch.examples, batch.owners, items, strict=True):
        assert batch.scene_ids[owner] == example.scene_id
        assert torch.equal(batch.scenes[owner].tiles, inputs.tiles)


def test_the_pixels_move_to_a_device(items: Sequence[tuple[Example, SceneInputs]]) -> None:
    batch = collate(items)
    moved = batch.to("meta", non_blocking=True)
    assert isinstance(moved, Batch)
    for scene, before in zip(moved.scenes, batch.scenes, strict=True):
        assert scene.tiles.device.type == scene.sam_images.device.type == "meta"
        assert scene.tiles.shape == before.tiles.shape and scene.layouts == before.layouts
        assert all(valid.device.type == "cpu" for valid in scene.valid)
    assert moved.examples == batch.examples and moved.owners == batch.owners
    assert moved.scene_ids == batch.scene_ids
    assert batch.scenes[0].tiles.device.type == "cpu"


class TensorCounter(pickle.Pickler):
    """Counts the tensors that another process would be sent."""

    num_tensors = 0

    def reducer_override(self, obj: Any) -> Any:
        self.num_tensors += isinstance(obj, torch.Tensor)
        return NotImplemented


def test_a_batch_travels_as_one_tensor_and_arrives_the_same(items: Sequence[tuple[Example, SceneInputs]]) -> None:
    batch = collate(items)
    file = io.BytesIO()
    counter = TensorCounter(file)
    counter.dump(batch)
    assert counter.num_tensors == 1
    arrived = pickle.loads(file.getvalue())
    assert isinstance(arrived, Batch)
    assert (arrived.scene_ids, arrived.owners) == (batch.scene_ids, batch.owners)
    for scene, before in zip(arrived.scenes, batch.scenes, strict=True):
        for name in ("tiles", "sam_images"):
            mine, others = getattr(scene, name), getattr(before, name)
            assert mine.dtype == others.dtype == torch.float16 and torch.equal(mine, others)
        assert scene.layouts == before.layouts and scene.modalities == before.modalities
        assert all(torch.equal(a, b) for a, b in zip(scene.valid, before.valid, strict=True))
    for example, other in zip(arrived.examples, batch.examples, strict=True):
        assert (example.sample_id, example.class_names) == (other.sample_id, other.class_names)
        assert torch.equal(example.prompt.input_ids, other.prompt.input_ids)
        assert torch.equal(example.target.token_ids, other.target.token_ids)
        for mine, others in zip(example.target.masks, other.target.masks, strict=True):
            assert mine.dtype == torch.bool and torch.equal(mine, others)
        for mine, others in zip(example.target.known, other.target.known, strict=True):
            assert torch.equal(mine, others)
