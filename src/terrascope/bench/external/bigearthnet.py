"""Scene classification on BigEarthNet v2: the test patches, each with its labels of 19.

Several labels may be right, so the question has no options: it lists the 19 labels and asks to name all that are
there. The true answer names them in the order of the list, separated by semicolons, since some hold commas.
`labels.read_labels` reads any answer, and `labels.score_labels` scores it: by exact match alone, nearly all are wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from terrascope.bench.external.benchmark import ExternalBenchmark, Unusable, collect, make_sample
from terrascope.bench.external.labels import LABELS, QUESTION, SEPARATOR
from terrascope.errors import SceneError
from terrascope.rasters.product_names import date_in
from terrascope.sample import Sample, SampleImage
from terrascope.scene import Scene
from terrascope.sources.bigearthnet import METADATA, BigEarthNet
from terrascope.sources.bigearthnet_files import GSD_M

NAME = "bigearthnet"
TASK = "scene_classification"


def open_bigearthnet(path: Path, images: Path | None) -> ExternalBenchmark:
    """The patches of the test split, shown by their Sentinel-2 image; those with snow, clouds or shadow are left out.

    Raises:
        SceneError: no table, one without a needed column, or `images` is given.
    """
    if images is not None:
        raise SceneError(f"{images}: the images of {NAME} lie in its own folder; leave the folder of images out")
    source = BigEarthNet(path, sar=False)
    index = source.index("test")
    labels = _read_labels(path / METADATA)
    samples, unusable = collect(partial(_make, entry.key, labels.get(entry.key)) for entry in index.entries)

    def read(sample: Sample) -> Scene:
        return source.read(sample.key).scene

    return ExternalBenchmark(name=NAME, samples=samples, skipped=dict(Counter(index.skipped) + unusable), read=read)


def _make(patch: str, given: Sequence[str] | None) -> Sample:
    if not given:
        raise Unusable("patch without labels")
    if not set(given) <= set(LABELS):
        raise Unusable("label of an unknown name")
    day = date_in(patch)
    return make_sample(
        name=NAME,
        number=patch,
        task=TASK,
        question=QUESTION,
        truth=SEPARATOR.join(label for label in LABELS if label in given),
        images=[
            SampleImage(
                number=1, modality="optical", sensor="sentinel-2", day=day.isoformat() if day else None, file=patch
            )
        ],
        key=patch,
        gsd_m=GSD_M,
    )


def _read_labels(table: Path) -> dict[str, list[str]]:
    try:
        columns = pq.read_table(table, columns=["patch_id", "labels"]).to_pydict()
    except (pa.ArrowException, OSError) as error:
        raise SceneError(f"{table}: its labels cannot be read ({error}); give the table of BigEarthNet v2") from None
    if set(columns) != {"patch_id", "labels"}:
        raise SceneError(f"{table}: has no column labels; give the table of BigEarthNet v2")
    return dict(zip(columns["patch_id"], columns["labels"], strict=True))
