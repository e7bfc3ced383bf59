"""From the fields of a request to a scene: which files it means, and what of them a stranger may be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from terrascope.errors import TerraScopeError
from terrascope.rasters.paths import is_remote
from terrascope.rasters.read import open_scene
from terrascope.rasters.store import Progress
from terrascope.scene import Observation, Pair, Scene
from terrascope.serve.refusals import Refusal, refusal_of
from terrascope.sources.synthetic import demo_scene

SAMPLES: Mapping[str, Callable[[], Scene]] = {"demo": demo_scene}
"""Scenes that the package makes itself."""

_IN_MEMORY_PIXELS = 4_000_000
"""Rows x columns above which an image stays in its files: several scenes are open at once."""

_MAX_BANDS = 64
_MAX_ENTRIES = 20_000
"""Files and folders of a product that are looked at for links that lead elsewhere."""

Files = str | list[str]
"""One image: a file, a folder, or the files of its bands."""


@dataclass(frozen=True, kw_only=True)
class SceneFiles:
    """The files of a scene, and how they are read.

    Attributes:
        optical, sar: one image per date.
        reading: the other arguments of `rasters.read.open_scene`.
        hidden: folders whose names nobody is told, longest first.
        fields: field of the form by a name that sentences may call a file by.
    """

    optical: Sequence[Files] = ()
    sar: Sequence[Files] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    fields: Mapping[str, str] = field(default_factory=dict)

    def open(self, progress: Progress) -> Scene:
        """Read the scene.

        Raises:
            Refusal: it cannot be read; the sentence calls files as their sender does.
        """
        try:
            scene = open_scene(
                optical=list(self.optical),
                sar=list(self.sar),
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
        named = next((name for file, name in self.fields.items() if file in sentence), None)
        refusal = refusal_of(error, named)
        refusal.message = without(refusal.message, self.hidden)
        return refusal


def sample_scene(name: str) -> Callable[[Progress], Scene]:
    """What reads a sample.

    Raises:
        Refusal: there is no such sample.
    """
    make = SAMPLES.get(name)
    if make is None:
        raise Refusal(422, "scene", f"there is no sample {name[:40]!r}; choose {', '.join(SAMPLES)}", "sample")
    return lambda _: make()


def resolve_path(text: str, root: Path | None, field_name: str) -> Files:
    """The file, folder or list of files (`a.tif,b.tif`) below the root that a text names.

    Raises:
        Refusal: no paths are allowed, it leads outside of the root, or nothing is there.
    """
    if root is None:
        raise Refusal(403, "no_paths", "this server reads no files of its own; upload the scene", field_name)
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > 1 and not _is_below(text, root):
        if len(parts) > _MAX_BANDS:
            raise Refusal(422, "scene", f"{len(parts)} files were named for one image; name its folder", field_name)
        files = [_below(part, root, field_name, is_band=True) for part in parts]
        return [str(file) for file in files]
    return str(_below(text, root, field_name))


def _is_below(text: str, root: Path) -> bool:
    """True if there is such a file, whose name may hold commas."""
    if ".." in Path(text).parts or Path(text).is_absolute():
        return False
    try:
        return (root / text).exists()
    except (OSError, ValueError):
        # Several long names are one that is too long.
        return False


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
    for folder in folders:
        text = text.replace(f"{folder}/", "").replace(folder, ".")
    return text


def _below(text: str, root: Path, field_name: str, *, is_band: bool = False) -> Path:
    outside = Refusal(403, "outside", "the path leads outside of the folder that this server reads", field_name)
    if is_remote(text) or "://" in text or text.startswith("/vsi"):
        raise Refusal(403, "outside", "addresses are not fetched; give a path below the server's folder", field_name)
    if "\0" in text or Path(text).is_absolute() or ".." in Path(text).parts:
        raise outside
    top = root.resolve()
    path = top / text
    try:
        if not path.resolve().is_relative_to(top):
            raise outside
        if not path.exists():
            raise Refusal(422, "scene", f"{text[:200]}: no such file; paths begin at the server's folder", field_name)
        if path.is_dir():
            if is_band:
                raise Refusal(422, "scene", f"{text[:200]}: is a folder; name image files, or one folder", field_name)
            _check_entries(path, top, outside)
    except (OSError, RuntimeError):
        raise Refusal(422, "scene", f"{text[:200]}: cannot be opened", field_name) from None
    return path


def _check_entries(folder: Path, top: Path, outside: Refusal) -> None:
    for number, path in enumerate(folder.rglob("*")):
        if number > _MAX_ENTRIES:
            raise Refusal(422, "scene", "the folder holds too much to be one product; name a file", outside.field)
        if path.is_symlink() and not path.resolve().is_relative_to(top):
            raise outside
