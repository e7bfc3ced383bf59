"""The scene that a form means: its images, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from terrascope.errors import SceneError, TerraScopeError
from terrascope.georeference import Georeference
from terrascope.rasters.grids import check_box
from terrascope.rasters.sensors import sensor_named
from terrascope.rasters.time_order import check_days
from terrascope.scene import Modality
from terrascope.serve.band_files import split_band
from terrascope.serve.below_root import resolve_path, state_of
from terrascope.serve.form import MODALITIES, AskFields
from terrascope.serve.job import ReadScene
from terrascope.serve.refusals import Refusal, about, refusal_of
from terrascope.serve.remembered import RememberedScenes
from terrascope.serve.scenes import GivenImage, SceneFiles, sample_scene
from terrascope.serve.settings import ServeSettings
from terrascope.serve.uploads import Form, Upload

Told = Callable[[TerraScopeError], Refusal]

_SHOWN = {"optical": "optical", "sar": "SAR"}
_READING = ("date", "sensor", "sar_sensor", "gsd", "nodata", "reference", "bbox")


def scene_of(
    fields: AskFields, form: Form, settings: ServeSettings, remembered: RememberedScenes
) -> tuple[ReadScene, Told]:
    """What reads the scene of a question, and what makes sentences of its errors. Looks at files: for a thread.

    Raises:
        Refusal: there is none, a path is not allowed, a field cannot be used, or a sample was asked for in another way
            than it is.
    """
    if fields.sample is None:
        files = scene_files(fields, form, settings)
        # What is uploaded goes with the question, and what stays in its files goes with it.
        return remembered.reader(files.key, files.open, stays=not form.files), files.told
    if form.files or fields.optical_path or fields.sar_path:
        raise Refusal(400, "malformed", "give a sample or images, not both", "sample")
    beside = next((name for name in _READING if getattr(fields, name) not in (None, [])), None)
    if beside is not None:
        raise Refusal(400, "malformed", f"a sample is taken as it is; leave out {beside}", beside)
    return remembered.reader(("sample", fields.sample), sample_scene(fields.sample), stays=True), refusal_of


def scene_files(fields: AskFields, form: Form, settings: ServeSettings) -> SceneFiles:
    """The images that a form means, in its order.

    Raises:
        Refusal: none is given, a path is not allowed, or a field that says how they are read cannot be used.
    """
    optical, sar = (_images(form, modality, settings.root) for modality in MODALITIES)
    if not (optical or sar):
        raise Refusal(
            422,
            "scene",
            "no image was given; send a file as optical or sar, a path as optical_path or sar_path, or sample=demo",
            "optical",
        )
    hidden = [str(upload.path.parent) for _, upload in form.files]
    if settings.root is not None:
        hidden.append(str(settings.root.resolve()))
    return SceneFiles(
        optical=optical,
        sar=sar,
        reading={**_reading(fields, len(optical), len(sar)), "max_pixels": settings.max_pixels},
        hidden=tuple(hidden),
        fields=_named(form),
    )


def _named(form: Form) -> dict[str, str]:
    """Fields by what sentences call their files."""
    fields = {upload.name: name for name, upload in form.files}
    for modality in MODALITIES:
        name = f"{modality}_path"
        for text in form.texts.get(name, ()):
            fields |= {part.strip(): name for part in (text, *text.split(",")) if part.strip()}
    return fields


def _images(form: Form, modality: Modality, root: Path | None) -> list[GivenImage]:
    """The images of a kind in the order of the form, one of several files where its first stands."""
    images: list[GivenImage | dict[str, Upload]] = []
    by_bands: dict[str, dict[str, Upload]] = {}
    for name, part in form.parts:
        if name == modality and isinstance(part, Upload):
            images.append(GivenImage(files=str(part.path), state=("file", part.name, part.digest)))
        elif name == f"{modality}_bands" and isinstance(part, Upload):
            image, band = _split_band(part, name, modality)
            if band in by_bands.get(image, {band: part}):
                # The first of its image, or the same band again: of the next image.
                by_bands[image] = {}
                images.append(by_bands[image])
            by_bands[image][band] = part
        elif name == f"{modality}_path" and isinstance(part, str) and part.strip():
            files = resolve_path(part, root, name)
            images.append(GivenImage(files=files, state=None if root is None else state_of(files, root)))
    return [image if isinstance(image, GivenImage) else _of_bands([*image.values()]) for image in images]


def _split_band(upload: Upload, name: str, modality: Modality) -> tuple[str, str]:
    split = split_band(upload.name)
    if split is None:
        raise Refusal(
            422,
            "scene",
            f"{upload.name}: its name holds no band, as lake_B02.tif and lake_VV.tif do; send it as {modality}",
            name,
        )
    return split


def _of_bands(uploads: Sequence[Upload]) -> GivenImage:
    return GivenImage(
        files=[str(upload.path) for upload in uploads],
        state=("bands", *((upload.name, upload.digest) for upload in uploads)),
        are_bands=True,
    )


def _reading(fields: AskFields, num_optical: int, num_sar: int) -> dict[str, Any]:
    """How the images are read: arguments of `rasters.read.open_scene`, checked as far as they can be without them."""
    if num_optical and num_sar and num_optical != num_sar:
        raise Refusal(
            422,
            "scene",
            f"{num_optical} optical and {num_sar} SAR images were given; give one SAR image per date",
            "sar",
        )
    if fields.reference is not None and not (num_optical if fields.reference == "optical" else num_sar):
        raise Refusal(
            422, "scene", f"reference is {fields.reference}, but no such image was given; leave it out", "reference"
        )
    for modality, name, sensor in (("optical", "sensor", fields.sensor), ("sar", "sar_sensor", fields.sar_sensor)):
        with about(name):
            if sensor is not None and sensor_named(sensor).modality != modality:
                other = "sar_sensor" if modality == "optical" else "sensor"
                raise SceneError(f"{sensor} is no {_SHOWN[modality]} sensor; give it as {other}")
    with about("date"):
        dates = tuple(fields.date) or None
        check_days(dates, max(num_optical, num_sar))
    with about("gsd"):
        Georeference(gsd_m=fields.gsd)
    with about("bbox"):
        box = None if fields.bbox is None else check_box(fields.bbox.split(","))
    return {
        "dates": dates,
        "sensor": fields.sensor,
        "sar_sensor": fields.sar_sensor,
        "gsd_m": fields.gsd,
        "nodata": fields.nodata,
        "reference": fields.reference,
        "bbox": box,
    }
