"""EarthMind-Bench: questions about pairs of an optical and a SAR image, one JSON list a task.

A record is `{file_name, question, candidate: [...], answer, task_type}`; the images are `rgb/img/<name>.png` and
`sar/img/<name>.png`, where the file name may end in `.json`. The answer is one of the candidates, word for word.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from terrascope.bench.external.benchmark import ExternalBenchmark, Unusable, collect, make_sample
from terrascope.bench.external.choices import check_options, find_text, stated_gsd_m
from terrascope.bench.external.json_lists import read_records
from terrascope.bench.external.pictures import SENSOR_OF, Pictures
from terrascope.errors import SampleError
from terrascope.sample import Sample, SampleImage
from terrascope.scene import Scene

NAME = "earthmind-bench"
_NEEDED = ("file_name", "question", "answer", "task_type")


def open_earthmind_bench(path: Path, images: Path | None) -> ExternalBenchmark:
    """The questions of a JSON file, or of all such files of a folder. Open-ended ones, without options, are left out.

    Raises:
        SampleError: there is no file, or one is no list.
        SceneError: `images` holds none of the images.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise SampleError(f"{path}: holds no JSON file; give the questions of EarthMind-Bench")
    records = read_records(files, "EarthMind-Bench")
    told = [str(record["file_name"]) for record in records if isinstance(record, dict) and record.get("file_name")]
    beside = path if path.is_dir() else path.parent
    pictures = Pictures.find(images, beside, [name for file in told for name in _names(file)])
    samples, skipped = collect(partial(_make, number, record, pictures) for number, record in enumerate(records))

    def read(sample: Sample) -> Scene:
        optical, sar = (image.file for image in sample.images)
        return Scene.of(
            optical=[pictures.read(optical, gsd_m=sample.gsd_m)],
            sar=[pictures.read(sar, modality="sar", gsd_m=sample.gsd_m)],
        )

    return ExternalBenchmark(name=NAME, samples=samples, skipped=skipped, read=read)


def _make(number: int, record: Any, pictures: Pictures) -> Sample:
    if not isinstance(record, dict) or any(key not in record for key in _NEEDED):
        raise Unusable("fields missing")
    candidates = record.get("candidate") or []
    if not isinstance(candidates, list):
        raise Unusable("options of an unknown form")
    question = str(record["question"] or "").strip()
    options = check_options([str(candidate) for candidate in candidates])
    truth = find_text(record["answer"], options)
    if not question:
        raise Unusable("question missing")
    if not record["file_name"]:
        raise Unusable("missing image")
    optical, sar = _names(str(record["file_name"]))
    pictures.check([optical, sar])
    return make_sample(
        name=NAME,
        number=number,
        task=str(record["task_type"] or "untold").strip(),
        question=question,
        options=options,
        truth=truth,
        images=[
            SampleImage(number=1, modality="optical", sensor=SENSOR_OF["optical"], file=optical),
            SampleImage(number=1, modality="sar", sensor=SENSOR_OF["sar"], file=sar),
        ],
        key=PurePosixPath(optical).stem,
        gsd_m=stated_gsd_m(question),
    )


def _names(file_name: str) -> tuple[str, str]:
    """The optical and the SAR image of a record."""
    path = PurePosixPath(file_name.replace("\\", "/"))
    name = path.with_suffix(".png") if path.suffix in ("", ".json") else path
    return f"rgb/img/{name}", f"sar/img/{name}"
