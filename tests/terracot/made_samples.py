"""Samples and chips of known content, for the tests of what is done with a finished data set."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from terrascope import masks
from terrascope.georeference import Georeference
from terrascope.sample import LEVELS, Sample, SampleImage, SampleMask
from terrascope.scene import Observation, Scene
from terrascope.sources.chips import Chip

HEIGHT, WIDTH = 12, 10
WATER = np.zeros((HEIGHT, WIDTH), bool)
WATER[:6, :4] = True
"""24 of 120 pixels: 20 %."""
TREE = np.zeros((HEIGHT, WIDTH), bool)
TREE[8:, 4:] = True
"""24 of 120 pixels; it touches no water."""

REASONING = (
    "<think>The water: [SEG] It covers 20% of the image. The tree: [SEG] It covers 20% of the image. "
    "So the answer is B.</think><answer>B</answer>"
)


def code(mask: NDArray[np.bool_]) -> str:
    return str(masks.encode_rle(mask)["counts"])


def optical(number: int) -> Observation:
    """A picture whose red is 10 x its date, whose green is the row and whose blue is the column."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return Observation(
        pixels=np.stack([np.full((HEIGHT, WIDTH), 10 * number), rows, columns]).astype(np.float32),
        bands=("red", "green", "blue"),
        modality="optical",
        sensor="rgb",
        valid=np.ones((HEIGHT, WIDTH), bool),
        georeference=Georeference(gsd_m=10.0),
        date=datetime.date(2023, 5, number),
    )


def sar(number: int) -> Observation:
    """Decibels that are shown as 51 (VV) and 102 (VH)."""
    values = np.array([-25 + 25 * 51 / 255, -32 + 27 * 102 / 255], np.float32)
    return Observation(
        pixels=np.broadcast_to(values[:, None, None], (2, HEIGHT, WIDTH)).copy(),
        bands=("VV", "VH"),
        modality="sar",
        sensor="sentinel-1",
        valid=np.ones((HEIGHT, WIDTH), bool),
        georeference=Georeference(gsd_m=10.0),
        date=datetime.date(2023, 5, number),
    )


def make_chip(*, key: str = "a", num_dates: int = 1, kinds: tuple[str, ...] = ("optical",)) -> Chip:
    dates = range(1, num_dates + 1)
    scene = Scene.of(
        optical=[optical(number) for number in dates] if "optical" in kinds else [],
        sar=[sar(number) for number in dates] if "sar" in kinds else [],
    )
    return Chip(source="made", key=key, place=key, split="train", scene=scene)


def images_of(num_dates: int = 1, kinds: tuple[str, ...] = ("optical",)) -> tuple[SampleImage, ...]:
    sensors = {"optical": "rgb", "sar": "sentinel-1"}
    return tuple(
        SampleImage(number=number, modality=kind, sensor=sensors[kind], day=f"2023-05-{number:02d}", file="x.tif")
        for number in range(1, num_dates + 1)
        for kind in kinds
    )


SAMPLE = Sample(
    id="made/a/L1/1",
    level="L1",
    task="ranking",
    source="made",
    key="a",
    place="a",
    split="train",
    images=images_of(),
    height=HEIGHT,
    width=WIDTH,
    gsd_m=10.0,
    lon=12.5,
    lat=-7.25,
    country="Austria",
    question="Which is larger, water or trees?",
    options=("tree", "water"),
    reasoning=REASONING,
    masks=(
        SampleMask(counts=code(WATER), image=1, class_name="water"),
        SampleMask(counts=code(TREE), image=1, class_name="tree"),
    ),
    truth="water",
    value=2400.0,
    unit="m2",
)
"""A sample of L1 with two options, B of which is right, and the two masks."""


def of_dates(num_dates: int, kinds: tuple[str, ...] = ("optical",)) -> Sample:
    """The sample on several dates: water is pointed at on the first, trees on the last."""
    first, second = SAMPLE.masks
    reasoning = REASONING.replace("water: [SEG]", "water: Image: 1 [SEG]")
    return replace(
        SAMPLE,
        images=images_of(num_dates, kinds),
        reasoning=reasoning.replace("tree: [SEG]", f"tree: Image: {num_dates} [SEG]"),
        masks=(first, replace(second, image=num_dates)),
    )


def reader(chips: Mapping[str, Chip], calls: list[str] | None = None):  # type: ignore[no-untyped-def]
    """What gives chips by source and key; `calls` is told every key."""

    def read(source: str, key: str) -> Chip:
        assert source == "made"
        if calls is not None:
            calls.append(key)
        return chips[key]

    return read


_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)

_TRAPS = ["What?\nA. this\nB. that", "Image: 1 <image>\nWhat?", "Is it <REGION>?"]
"""Questions that look as if a record's own marks were in them."""


@st.composite
def samples(draw: st.DrawFn) -> Sample:
    """Samples of all levels: one to three dates, optical, SAR or both, with options or without, texts of any kind."""
    num_dates = draw(st.integers(1, 3))
    kinds = draw(st.sampled_from([("optical",), ("sar",), ("optical", "sar")]))
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    num_masks = draw(st.integers(0, 4))
    num_pixels = shape[0] * shape[1]
    drawn = [draw(st.lists(st.booleans(), min_size=num_pixels, max_size=num_pixels)) for _ in range(num_masks)]
    pointed = [draw(st.integers(1, num_dates)) for _ in range(num_masks)]
    steps = "".join(f"{draw(_words)} Image: {image} [SEG] {draw(_words)}" for image in pointed)
    return Sample(
        id=draw(_names),
        level=draw(st.sampled_from(LEVELS)),
        task=draw(_words),
        source=draw(_names),
        key=draw(_names),
        place=draw(_words),
        split=draw(st.sampled_from(["train", "val", "test"])),
        images=images_of(num_dates, kinds),
        height=shape[0],
        width=shape[1],
        gsd_m=draw(_numbers),
        lon=draw(_numbers),
        lat=draw(_numbers),
        country=draw(st.none() | _words),
        question=draw(_words | st.sampled_from(_TRAPS)),
        options=tuple(draw(st.lists(_words | st.sampled_from(["A. one", "two\nlines"]), max_size=5))),
        reasoning=f"<think>{steps}</think><answer>{draw(_words)}</answer>",
        masks=tuple(
            SampleMask(counts=code(np.array(mask, bool).reshape(shape)), image=image, class_name=draw(_words))
            for mask, image in zip(drawn, pointed, strict=True)
        ),
        truth=draw(_words),
        value=draw(_numbers),
        unit=draw(st.none() | st.sampled_from(["%", "m2"])),
        writer=draw(_words),
        labels=draw(st.sampled_from(["annotated", "predicted", "refined"])),
    )
