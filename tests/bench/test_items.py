"""Which images of a scene an item shows."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from terrascope.bench.items import Item, Shown, items, show_only, shown_of
from terrascope.errors import SceneError
from terrascope.sample import Sample
from tests.terracot.made_samples import SAMPLE, images_of, make_chip

KINDS = {"optical": ("optical",), "sar": ("sar",), "both": ("optical", "sar")}


@pytest.mark.parametrize("shown", get_args(Shown))
@pytest.mark.parametrize("num_dates", [1, 2])
def test_a_sample_says_what_is_shown_and_the_scene_shows_it(shown: Shown, num_dates: int) -> None:
    scene = make_chip(num_dates=num_dates, kinds=("optical", "sar")).scene
    sample = replace(SAMPLE, images=images_of(num_dates, KINDS[shown]))
    item = Item(sample=sample, scene=show_only(scene, shown_of(sample)))
    assert item.shown == shown
    assert len(item.scene.pairs) == num_dates
    for whole, pair in zip(scene.pairs, item.scene.pairs, strict=True):
        assert pair.optical is (whole.optical if "optical" in KINDS[shown] else None)
        assert pair.sar is (whole.sar if "sar" in KINDS[shown] else None)


def test_what_people_should_know_of_a_scene_is_kept() -> None:
    scene = replace(make_chip(kinds=("optical", "sar")).scene, notes=("One image was moved.",))
    assert show_only(scene, "sar").notes == show_only(scene, "optical").notes == scene.notes


def test_a_scene_without_the_images_to_show_is_refused() -> None:
    scene = make_chip(kinds=("optical",)).scene
    with pytest.raises(SceneError, match="no sar image; show all images of such a scene"):
        show_only(scene, "sar")


def test_items_come_in_the_order_of_the_samples() -> None:
    scene = make_chip().scene
    listed = tuple(replace(SAMPLE, id=str(number)) for number in range(3))

    class Made:
        name, digest = "made", "0"

        @property
        def samples(self) -> tuple[Sample, ...]:
            return listed

        def item(self, index: int) -> Item:
            return Item(sample=listed[index], scene=scene)

    assert [item.sample.id for item in items(Made())] == ["0", "1", "2"]
