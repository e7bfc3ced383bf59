"""From the fields of a request to a scene: which files it means, and what of them a stranger may be told."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from terrascope.errors import SceneError, TerraScopeError
from terrascope.rasters.files import describe_file
from terrascope.rasters.read import open_scene
from terrascope.rasters.store import Progress
from terrascope.scene import Observation, Pair, Scene
from terrascope.serve.below_root import Files
from terrascope.serve.refusals import Refusal, refusal_of
from terrascope.sources.synthetic import demo_scene

SAMPLES: Mapping[str, Callable[[], Scene]] = {"demo": demo_scene}
"""Scenes that the package makes itself."""

_NAMED = r"(?:^|[\s(]){}(?=[:;,)\s]|$)"
_BBOX = re.compile(r"(?<![\w./-])bbox(?![\w./-])")

_IN_MEMORY_PIXELS = 4_000_000
"""Rows x columns above which an image stays in its files: several scenes are open at once."""


@dataclass(frozen=True, kw_only=True)
class GivenImage:
    """An image as a request brings it.

    Attributes:
        files: where it lies.
        state: what tells its content from that of other images; None where nothing does.
        are_bands: each file holds a band.
    """

    files: Files
    state: Hashable
    are_bands: bool = False


@dataclass(frozen=True, kw_only=True)
class SceneFiles:
    """The files of a scene, and how they are read.

    Attributes:
        optical, sar: one image per date.
        reading: the other arguments of `rasters.read.open_scene`, all hashable.
        hidden: folders whose names nobody is told.
        fields: field of the form by a name that sentences may call a file by.
    """

    optical: Sequence[GivenImage] = ()
    sar: Sequence[GivenImage] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Hashable:
        """Equal for what is read to equal scenes; None where that is not known."""
        states = tuple(tuple(image.state for image in images) for images in (self.optical, self.sar))
        if None in (*states[0], *states[1]):
            return None
        return states, tuple(sorted(self.reading.items()))

    def open(self, progress: Progress) -> Scene:
        """Read the scene.

        Raises:
            Refusal: it cannot be read; the sentence calls files as their sender does.
        """
        try:
            for image in (*self.optical, *self.sar):
                if image.are_bands:
                    _check_bands(image.files)
            scene = open_scene(
                optical=[image.files for image in self.optical],
                sar=[image.files for image in self.sar],
                **self.reading,
                in_memory_pixels=_IN_MEMORY_PIXELS,
                progress=progress,
            )
        except TerraScopeError as error:
            raise self.told(error) from None
        return hide(scene, self.hidden)

    def told(self, error: TerraScopeError) -> Refusal:
        """What the sender is told of an error about these files."""
        sentence = without(str(error), self.hidden)
        named = None
        if isinstance(error, SceneError):
            found = ((re.search(_NAMED.format(re.escape(file)), sentence), name) for file, name in self.fields.items())
            named = min(((match.start(), name) for match, name in found if match), default=(0, None))[1]
            named = "bbox" if _BBOX.search(sentence) else named
        refusal = refusal_of(error, named)
        refusal.message = without(refusal.message, self.hidden)
        return refusal


def _check_bands(files: Files) -> None:
    # The name says which band a file holds, so it can hold but one.
    for file in files:
        num_bands = len(describe_file(file)[0])
        if num_bands > 1:
            raise SceneError(f"{file}: holds {num_bands} bands, not one; send it as an image of its own")


def sample_scene(name: str) -> Callable[[Progress], Scene]:
    """What reads a sample.

    Raises:
        Refusal: there is no such sample.
    """
    make = SAMPLES.get(name)
    if make is None:
        raise Refusal(422, "scene", f"there is no sample {name[:40]!r}; choose {', '.join(SAMPLES)}", "sample")
    return lambda _: make()


def hide(scene: Scene, folders: Sequence[str]) -> Scene:
    """The scene without the names of folders in what it says of itself."""
    if not folders:
        return scene

    def cleaned(image: Observation | None) -> Observation | None:
        if image is None:
            return None
        return replace(
            image,
            source=without(image.source, folders),
            evidence=tuple(without(text, folders) for text in image.evidence),
            assumptions=tuple(without(text, folders) for text in image.assumptions),
        )

    pairs = tuple(Pair(optical=cleaned(pair.optical), sar=cleaned(pair.sar)) for pair in scene.pairs)
    return Scene(pairs, notes=tuple(without(note, folders) for note in scene.notes))


def without(text: str, folders: Sequence[str]) -> str:
    """The text with paths cut down to what follows these folders."""
    for folder in sorted(folders, key=len, reverse=True):
        text = text.replace(f"{folder}/", "").replace(folder, ".")
    return text
