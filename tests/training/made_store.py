"""A small data set in one file: samples of generated scenes, with the masks of their label maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from terrascope.masks import encode_rle
from terrascope.sample import Sample, SampleImage, SampleMask, arrow_schema
from terrascope.sources.chips import Chip
from terrascope.sources.generated import Generated
from terrascope.terracot.store import Store, open_store
from terrascope.trace import Step, Trace, render

SIZE = 64
SOURCE = Generated(num=8, size=SIZE)


def samples_of(chip: Chip) -> list[Sample]:
    """One sample a class that the first date shows, two of them with options, and one without any mask."""
    dates = range(1, len(chip.labels) + 1)
    shared = {
        "level": "L1", "task": "coverage", "source": chip.source, "key": chip.key, "place": chip.place,
        "split": chip.split, "height": SIZE, "width": SIZE, "gsd_m": 30.0,
        "images": tuple(
            SampleImage(number=number, modality=image.modality, sensor=image.sensor)
            for number, pair in enumerate(chip.scene.pairs, 1)
            for image in pair.observations
        ),
    }  # fmt: skip
    samples = []
    nomenclature = chip.labels[0].nomenclature
    present = [one for one in nomenclature if chip.labels[0].mask(nomenclature.id_of(one.name)).any()]
    for number, one in enumerate(present):
        steps = tuple(Step(text=f"The {one.name}:", image=date, finding="It covers some.") for date in dates)
        masks = [labels.mask(nomenclature.id_of(one.name)) for labels in chip.labels]
        samples.append(
            Sample(
                **{**shared, "task": "coverage" if number % 2 else "area"},  # type: ignore[arg-type]
                id=f"{chip.key}-{one.name}",
                question=f"How much is {one.name}?",
                options=("10%", "50%") if number < 2 else (),
                reasoning=render(Trace(steps=steps, conclusion="So the answer is A.", answer="A")),
                masks=tuple(
                    SampleMask(counts=encode_rle(mask)["counts"], image=date, class_name=one.name)
                    for date, mask in zip(dates, masks, strict=True)
                ),
            )
        )
    text = "<think>There is a scene.</think><answer>a scene</answer>"
    plain = Sample(
        **{**shared, "level": "caption", "task": "caption"},  # type: ignore[arg-type]
        id=f"{chip.key}-caption", question="What is shown?", reasoning=text,
    )  # fmt: skip
    return [*samples, plain]


def write_store(path: Path, samples: Sequence[Sample]) -> Store:
    """A store of one file."""
    pq.write_table(pa.Table.from_pylist([sample.to_row() for sample in samples], schema=arrow_schema()), path)
    return open_store(path)


def made_samples(num_chips: int = 6) -> list[Sample]:
    """The samples of the first generated scenes."""
    entries = SOURCE.index("train").entries[:num_chips]
    return [sample for entry in entries for sample in samples_of(SOURCE.read(entry.key))]
