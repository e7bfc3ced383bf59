"""What a batch asks: scenes that are opened when their turn comes, and questions about each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from terrascope.errors import ManifestError
from terrascope.rasters.grids import LonLatBox
from terrascope.rasters.paths import is_remote
from terrascope.scene import Modality, Scene

_LONGEST_NAME = 80
_RESERVED = frozenset({"answers", "item", "masks"})
"""Names of files that lie beside those named after the questions."""


class Images(Protocol):
    """The images of one scene, before any of them is opened. Pickled, where other processes open them."""

    def open(self) -> Scene:
        """Open them.

        Raises:
            TerraScopeError: they cannot be read, or are not one scene.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """What is to be opened, as JSON values: by these a batch knows whether it is asked about the same images."""
        ...


@dataclass(frozen=True, kw_only=True)
class FileImages:
    """Images in files, or at addresses.

    Attributes:
        optical, sar: one entry a date, each the files of one image (one, or its band files), as they were written.
        dates, sensor, sar_sensor, gsd_m, nodata, reference, bbox: as for `rasters.read.open_scene`.
        folder: that relative paths start from.
        allow_virtual: also open virtual rasters.
    """

    optical: tuple[tuple[str, ...], ...] = ()
    sar: tuple[tuple[str, ...], ...] = ()
    dates: tuple[str, ...] = ()
    sensor: str | None = None
    sar_sensor: str | None = None
    gsd_m: float | None = None
    nodata: float | None = None
    reference: Modality | None = None
    bbox: LonLatBox | None = None
    folder: str = ""
    allow_virtual: bool = False

    def open(self) -> Scene:
        """As `rasters.read.open_scene`.

        Raises:
            SceneError: an image cannot be read, or the images do not form one scene.
        """
        from terrascope.rasters.read import open_scene

        return open_scene(
            optical=[self._located(image) for image in self.optical],
            sar=[self._located(image) for image in self.sar],
            dates=self.dates or None,
            sensor=self.sensor,
            sar_sensor=self.sar_sensor,
            gsd_m=self.gsd_m,
            nodata=self.nodata,
            reference=self.reference,
            bbox=self.bbox,
            allow_virtual=self.allow_virtual,
        )

    def describe(self) -> dict[str, Any]:
        """All but the folder, so that a manifest may move together with its images, and but what may be opened."""
        return {name: value for name, value in vars(self).items() if name not in ("folder", "allow_virtual")}

    def _located(self, image: tuple[str, ...]) -> str | list[str]:
        paths = [path if is_remote(path) else str(Path(self.folder) / path) for path in image]
        return paths[0] if len(paths) == 1 else paths


@dataclass(frozen=True, kw_only=True)
class AskedQuestion:
    """One question about a scene: a row of the results.

    Attributes:
        id: that no other question of the batch has.
        file_name: of its files, without suffix; no other question of the batch has it.
        question, options: as `Predictor.ask` takes them.
        user: columns that are handed on to the results, by name.
    """

    id: str
    question: str
    options: tuple[str, ...] = ()
    user: Mapping[str, str | None] = field(default_factory=dict)
    file_name: str = ""


def number_questions(
    name: str, texts: Sequence[str], user: Mapping[str, str | None] | None = None
) -> list[AskedQuestion]:
    """The same questions that are asked of each scene, about the one of a name: that is the id of a single one."""
    ids = [name] if len(texts) == 1 else [f"{name}-{place}" for place in range(1, len(texts) + 1)]
    return [AskedQuestion(id=id_, question=text, user=user or {}) for id_, text in zip(ids, texts, strict=True)]


@dataclass(frozen=True, kw_only=True)
class AskedScene:
    """A scene and the questions about it. `name` is also that of its folder; no other scene of the batch has it."""

    name: str
    images: Images
    questions: tuple[AskedQuestion, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that a batch asks, in order. `source` is the name by which messages call it."""

    source: str
    scenes: tuple[AskedScene, ...]

    @property
    def num_questions(self) -> int:
        return sum(len(scene.questions) for scene in self.scenes)

    @property
    def digest(self) -> str:
        """By which a batch knows whether the same is asked again."""
        asked = [
            [
                scene.name,
                scene.images.describe(),
                [[q.id, q.question, q.options, dict(q.user)] for q in scene.questions],
            ]
            for scene in self.scenes
        ]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def make_plan(source: str, scenes: Iterable[tuple[str, Images, Sequence[AskedQuestion]]]) -> Plan:
    """A plan of scenes (name, images, questions), with names that files can have.

    Raises:
        ManifestError: there is no question, or two have one id.
    """
    listed = list(scenes)
    ids = [question.id for _, _, questions in listed for question in questions]
    if not ids:
        raise ManifestError(f"{source}: asks nothing; give at least one question about one scene")
    twice = _first_repeated(ids)
    if twice is not None:
        raise ManifestError(f"{source}: two questions have the id {twice!r}; give each its own")
    files = iter(file_names(ids, _RESERVED))
    folders = file_names([name for name, _, _ in listed])
    return Plan(
        source=source,
        scenes=tuple(
            AskedScene(
                name=folder,
                images=images,
                questions=tuple(replace(question, file_name=next(files)) for question in questions),
            )
            for folder, (_, images, questions) in zip(folders, listed, strict=True)
        ),
    )


def file_names(texts: Iterable[str], reserved: frozenset[str] = frozenset()) -> list[str]:
    """A file name for each text: itself where every system takes it for one, else one like it; no two are alike."""
    names: list[str] = []
    taken = set(reserved)
    for number, text in enumerate(texts):
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:_LONGEST_NAME].strip("._-")
        # Some systems do not tell capitals apart.
        if not name or name != text or name.lower() in taken:
            digest = hashlib.sha256(f"{number} {text}".encode("utf-8", "surrogatepass")).hexdigest()[:8]
            name = f"{name}-{digest}".lstrip("-")
        names.append(name)
        taken.add(name.lower())
    return names


def _first_repeated(texts: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return None
