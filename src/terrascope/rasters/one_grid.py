"""Images of different CRS, resolution and extent on one grid: the part of the reference's that all of them cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from terrascope.errors import SceneError
from terrascope.rasters.grids import Grid, LonLatBox, Part, describe_grid, part_in_box, shared_part
from terrascope.rasters.image_files import ImageFiles, Limits, load
from terrascope.rasters.paths import is_remote
from terrascope.rasters.resampling import Resampler
from terrascope.rasters.warped_store import WarpedStore
from terrascope.scene import Observation


def short_names(images: Sequence[ImageFiles]) -> dict[str, str]:
    """What sentences call each image, by its source: the file's name, or the whole path where two have the same."""
    names = {
        image.source: Path(image.source.split("?")[0] if is_remote(image.source) else image.source).name
        for image in images
    }
    return names if len(set(names.values())) == len(names) else {source: source for source in names}


def take_as_one(images: Sequence[ImageFiles]) -> tuple[list[ImageFiles], list[str]]:
    """Give images without a place that of an image of equal size, and say so.

    Raises:
        SceneError: the sizes differ.
    """
    reference = next((image for image in images if image.grid.is_located), images[0])
    placed, unplaced = [], []
    for image in images:
        if image.grid.is_located or image is reference:
            placed.append(image)
            continue
        if image.grid.shape != reference.grid.shape:
            raise SceneError(
                f"{image.source} ({image.grid.width} x {image.grid.height}) and {reference.source} "
                f"({reference.grid.width} x {reference.grid.height}) differ in size and have no CRS in common; "
                "give images of one grid"
            )
        unplaced.append(image.source)
        placed.append(image.placed_on(reference.grid) if reference.grid.is_located else image)
    if not unplaced:
        return placed, []
    names = short_names(images)
    said = " and ".join(names[source] for source in unplaced)
    verb = "does" if len(unplaced) == 1 else "do"
    note = (
        f"{said} {verb} not say where it lies, and was taken to lie on {names[reference.source]}, being of equal size."
    )
    if len(unplaced) > 1:
        note = note.replace("it lies, and was", "they lie, and were")
    return placed, [note]


def common_part(images: Sequence[ImageFiles], reference: ImageFiles, bbox: LonLatBox | None) -> tuple[Part, list[str]]:
    """The part of the reference's grid that all images cover, within the box if there is one; and sentences on it.

    Raises:
        SceneError: the images, or the box and the images, do not overlap; or a box without a place to look for it.
    """
    names, grid = short_names(images), reference.grid
    others = [image for image in images if image is not reference]
    apart = next((image for image in others if shared_part(grid, [image.grid]) is None), None)
    if apart is not None:
        raise SceneError(f"{apart.source} does not overlap {reference.source}; give images of one place")
    part = shared_part(grid, [image.grid for image in others]) if others else grid.whole
    if part is None:
        raise SceneError(f"there is no part of {reference.source} that all images cover; give images of one place")
    notes = []
    if part != grid.whole:
        notes.append(
            f"The images overlap in {_size(part)} of the {_size(grid.whole)} pixels of {names[reference.source]}; "
            "the answer is about that part."
        )
    if bbox is None:
        return part, notes
    if not grid.is_located:
        raise SceneError(f"{reference.source}: does not say where it lies, so a bbox in degrees has no meaning for it")
    wanted = part_in_box(grid, bbox)
    within = None if wanted is None else _shared(part, wanted)
    if within is None:
        raise SceneError(
            f"bbox {', '.join(f'{n:g}' for n in bbox)} lies outside of {reference.source}; give one within"
        )
    notes.append(
        f"The answer is about the part in the bbox: {_size(within)} of the {_size(grid.whole)} pixels of "
        f"{names[reference.source]}."
    )
    return within, notes


def bring_onto(
    image: ImageFiles, target: Grid, limits: Limits, *, names: dict[str, str], reference: ImageFiles
) -> tuple[Observation, list[str]]:
    """Read an image on a grid that it covers at least in part, and say if it was resampled for that.

    Raises:
        SceneError: as `load`; or the image has no pixel on the grid.
    """
    resampler = Resampler(image.grid, target)
    part = resampler.source_part(target.whole)
    if part is None:
        raise SceneError(f"{image.source} does not overlap {reference.source}; give images of one place")
    observation = load(image, limits, part)
    if resampler.is_exact and observation.shape == target.shape:
        return replace(observation, georeference=target.georeference), []
    sensor = image.reading.sensor
    store = WarpedStore(
        observation,
        image.grid.window(part),
        target,
        as_power=sensor.modality == "sar" and not sensor.is_8bit,
    )
    in_memory = target.height * target.width <= limits.in_memory_pixels
    valid, pixels = store.survey(keep=in_memory)
    if not valid.any() and observation.valid.any():
        raise SceneError(f"{image.source} does not overlap {reference.source}; give images of one place")
    warped = replace(
        observation,
        pixels=store if pixels is None else pixels,
        valid=valid,
        georeference=target.georeference,
    )
    if resampler.is_exact:
        return warped, []
    note = (
        f"{names[image.source]} ({describe_grid(image.grid)}) was resampled onto the grid of "
        f"{names[reference.source]} ({describe_grid(reference.grid)})."
    )
    return warped, [note]


def _shared(one: Part, other: Part) -> Part | None:
    rows, columns = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def _size(part: Part) -> str:
    rows, columns = part
    return f"{columns.stop - columns.start} x {rows.stop - rows.start}"
