"""DisasterM3: questions about pairs of images before and after a disaster, the second of which may be a SAR image.

`data/benchmark_release.json` is a list of `{task, prompts, options_str, ground_truth_option, pre_image_path,
post_image_path, post_image_type}`; paths have backslashes. What has no options (captions, masks) is left out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from terrascope.bench.external.benchmark import ExternalBenchmark, Unusable, collect, make_sample
from terrascope.bench.external.choices import check_options, find_letter, list_options, split_options, stated_gsd_m
from terrascope.bench.external.json_lists import read_records
from terrascope.bench.external.pictures import SENSOR_OF, Pictures
from terrascope.errors import SampleError
from terrascope.question import LETTERS
from terrascope.sample import Sample, SampleImage
from terrascope.scene import Modality, Pair, Scene
from terrascope.sources.records import split_prompt

NAME = "disasterm3"
FILES = ("data/benchmark_release.json", "benchmark_release.json")
_NEEDED = ("task", "prompts", "pre_image_path", "post_image_path")


def open_disasterm3(path: Path, images: Path | None) -> ExternalBenchmark:
    """The questions of a JSON file, or of `benchmark_release.json` in a folder.

    A SAR image after the disaster is the other half of the pair of the one date that a scene then has, since the dates
    of a scene must show the same kinds of image; a note says which was taken first.

    Raises:
        SampleError: the file is missing, or holds no such list.
        SceneError: `images` holds none of the images.
    """
    file, beside = _find(path)
    records = read_records([file], "DisasterM3")
    names = [_slashes(record.get(key)) for record in records if isinstance(record, dict) for key in _NEEDED[2:]]
    pictures = Pictures.find(images, beside, [name for name in names if name])
    samples, skipped = collect(partial(_make, number, record, pictures) for number, record in enumerate(records))

    def read(sample: Sample) -> Scene:
        before, after = (
            pictures.read(image.file, modality=_modality(image.modality), gsd_m=sample.gsd_m) for image in sample.images
        )
        if after.modality == "optical":
            return Scene.of(optical=[before, after])
        note = "The optical image was taken before the disaster, the SAR image after it."
        return Scene((Pair(optical=before, sar=after),), notes=(note,))

    return ExternalBenchmark(name=NAME, samples=samples, skipped=skipped, read=read)


def _make(number: int, record: Any, pictures: Pictures) -> Sample:
    if not isinstance(record, dict) or any(key not in record for key in _NEEDED):
        raise Unusable("fields missing")
    prompts = record["prompts"]
    question, asked = split_prompt(str(prompts[0] if isinstance(prompts, list) and prompts else prompts or ""))
    given = record.get("options_str") or record.get("options_list") or asked
    options = check_options(split_options(given) if isinstance(given, str) else list(list_options(given).values()))
    if not question:
        raise Unusable("question missing")
    truth = find_letter(record.get("ground_truth_option"), LETTERS[: len(options)], options)
    before, after = (_slashes(record[key]) for key in ("pre_image_path", "post_image_path"))
    if not before or not after:
        raise Unusable("missing image")
    pictures.check([before, after])
    second: Modality = "sar" if "sar" in str(record.get("post_image_type", "")).casefold() else "optical"
    return make_sample(
        name=NAME,
        number=number,
        task=str(record["task"] or "untold").strip(),
        question=question,
        options=options,
        truth=truth,
        images=[
            SampleImage(number=1, modality="optical", sensor=SENSOR_OF["optical"], file=before),
            # Of two kinds, both are of the scene's one date.
            SampleImage(number=1 if second == "sar" else 2, modality=second, sensor=SENSOR_OF[second], file=after),
        ],
        key=f"{before}|{after}",
        gsd_m=stated_gsd_m(question),
    )


def _modality(name: str) -> Modality:
    return "sar" if name == "sar" else "optical"


def _slashes(name: object) -> str:
    """A path as it is written everywhere but on Windows."""
    return name.strip().replace("\\", "/").removeprefix("./") if isinstance(name, str) else ""


def _find(path: Path) -> tuple[Path, Path]:
    """The file of the questions, and the folder that its paths start from."""
    if path.is_file():
        return path, path.parent.parent if path.parent.name == "data" else path.parent
    file = next((path / name for name in FILES if (path / name).is_file()), None)
    if file is None:
        raise SampleError(f"{path}: holds no {FILES[0]}; give that file of DisasterM3, or the folder above data")
    return file, path
