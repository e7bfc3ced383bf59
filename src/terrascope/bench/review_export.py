"""Stage 3 of the benchmark, out to the experts: its questions as projects of Label Studio (paper, Appendix D)."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from terrascope.bench.derived import open_folder, question_id, questions_of
from terrascope.bench.items import digest_of
from terrascope.bench.label_studio import Layout, layout_of, name_layout, write_config, write_task
from terrascope.bench.prompts import to_png
from terrascope.errors import SampleError, SceneError
from terrascope.output import check_folder, written_together
from terrascope.rasters.overlay import BLIND, to_bytes
from terrascope.rasters.sensors import render
from terrascope.sample import Sample
from terrascope.sources.chips import Chip, ChipError
from terrascope.terracot.asking import UNUSABLE
from terrascope.terracot.pictures import Read, check_size, observation_of

TASKS_FILE, CONFIG_FILE = "tasks.json", "labels.xml"

Progress = Callable[[int, int], None]
Question = tuple[Sample, ...]


@dataclass(frozen=True, kw_only=True)
class ExportReport:
    """What was written for experts.

    Attributes:
        projects: questions of each project, by its folder.
        failed: questions whose scene cannot be shown, by reason.
    """

    projects: Mapping[str, int]
    failed: Mapping[str, int]


def export_review(
    folder: Path,
    out: Path,
    read: Read,
    *,
    tasks: Sequence[str] = (),
    image_root: str | None = None,
    progress: Progress | None = None,
) -> ExportReport:
    """Write the questions of a benchmark as projects of Label Studio, each in a folder of `out`.

    A project has `tasks.json`, to be imported, and `labels.xml`, its labelling configuration. A question stands there
    once, with the images of all of its versions. A scene that cannot be shown is counted, and its questions left out.

    Args:
        read: gives the chip of a source's name and a key, as `BenchStore.read_chip` does.
        tasks: kinds of question for these experts; all where empty.
        image_root: address under which Label Studio finds the images of `out`, such as `/data/local-files/?d=review`;
            they are then written as files. None to have them within `tasks.json`, which needs no setting there.

    Raises:
        SampleError: there is no benchmark, or it has no question of one of these kinds.
        OutputError: the folder cannot be written.
    """
    samples = tuple(open_folder(folder))
    kinds = dict.fromkeys(sample.task for sample in samples)
    unknown = next((task for task in tasks if task not in kinds), None)
    if unknown is not None:
        raise SampleError(f"{folder}: has no question of {unknown}; choose among {', '.join(kinds)}")
    projects: dict[Layout, list[Question]] = {}
    for versions in questions_of(samples):
        if not tasks or versions[0].task in tasks:
            projects.setdefault(layout_of(versions), []).append(versions)
    export = _Export(
        out=check_folder(out),
        # The questions about a scene follow each other.
        read=lru_cache(maxsize=1)(read),
        digest=digest_of(samples),
        image_root=image_root,
        tell=progress or (lambda done, total: None),
        total=sum(map(len, projects.values())),
    )
    written = {name_layout(layout): export.write(layout, questions) for layout, questions in projects.items()}
    return ExportReport(projects=written, failed=dict(sorted(export.failed.items())))


class _Export:
    """What is the same for all projects, and what is counted as they are written."""

    def __init__(
        self, *, out: Path, read: Read, digest: str, image_root: str | None, tell: Progress, total: int
    ) -> None:
        self.out, self.read, self.digest, self.image_root = out, read, digest, image_root
        self.tell, self.total, self.done = tell, total, 0
        self.failed: Counter[str] = Counter()

    def write(self, layout: Layout, questions: Sequence[Question]) -> int:
        """Write a project; returns how many questions it holds."""
        name = name_layout(layout)
        # Numbered by scene: a scene's pictures serve all questions about it.
        scenes = dict.fromkeys((versions[0].source, versions[0].key) for versions in questions)
        pictures = {
            scene: [f"{number:05d}_{kind}{date}.png" for date, kind in layout] for number, scene in enumerate(scenes)
        }
        files = [picture for names in pictures.values() for picture in names] if self.image_root is not None else []
        num = 0
        with written_together(self.out / name, [TASKS_FILE, CONFIG_FILE, *files]) as folder:
            classes = sorted({label for versions in questions for label in versions[0].classes})
            (folder / CONFIG_FILE).write_text(write_config(layout, classes), encoding="utf-8")
            # One after another: with their images, all tasks together may not fit into memory.
            with (folder / TASKS_FILE).open("w", encoding="utf-8") as file:
                for versions in questions:
                    task = self._task(folder, layout, versions[0], pictures[versions[0].source, versions[0].key])
                    if task is not None:
                        file.write(",\n" if num else "[\n")
                        json.dump(task, file, ensure_ascii=False)
                        num += 1
                    self.done += 1
                    self.tell(self.done, self.total)
                file.write("\n]\n" if num else "[]\n")
        return num

    def _task(self, folder: Path, layout: Layout, sample: Sample, names: Sequence[str]) -> dict[str, Any] | None:
        try:
            drawn = draw_images(self.read(sample.source, sample.key), sample, layout)
        except SceneError as error:
            self.failed[error.reason if isinstance(error, ChipError) else UNUSABLE] += 1
            return None
        if self.image_root is None:
            addresses = [f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}" for png in drawn]
        else:
            addresses = [f"{self.image_root.rstrip('/')}/{name_layout(layout)}/{name}" for name in names]
            for name, png in zip(names, drawn, strict=True):
                (folder / name).write_bytes(png)
        return write_task(sample, layout, name=question_id(sample), digest=self.digest, images=addresses)


def draw_images(chip: Chip, sample: Sample, layout: Layout) -> list[bytes]:
    """The images of a layout as PNG files on the grid of the masks; pixels that were not measured are gray.

    Raises:
        ChipError: the chip lacks one of them, or has another size than the sample.
        SceneError: an image cannot be shown.
    """
    check_size(chip, sample)
    files = []
    for date, kind in layout:
        image = observation_of(chip, date, kind)
        pixels = to_bytes(render(image))
        pixels[~image.valid] = BLIND
        files.append(to_png(pixels))
    return files
