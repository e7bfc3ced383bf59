"""Pictures of 8 bits, from bytes or files, as observations; where the images of a benchmark lie."""

from __future__ import annotations

import datetime
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from terrascope.bench.external.benchmark import Unusable
from terrascope.errors import SceneError
from terrascope.georeference import Georeference
from terrascope.rasters.sensors import SENSORS
from terrascope.scene import Modality, Observation
from terrascope.sources.chips import ChipError
from terrascope.sources.record_scenes import find_image

SENSOR_OF: dict[Modality, str] = {"optical": "rgb", "sar": "sar-8bit"}
"""What pictures are taken for: red, green and blue; one band of backscatter stretched for display."""


def decode_picture(
    data: bytes,
    *,
    source: str,
    modality: Modality = "optical",
    gsd_m: float | None = None,
    date: datetime.date | None = None,
) -> Observation:
    """A PNG, JPEG or TIFF as an observation; a SAR picture in colours becomes gray. Transparent pixels are not valid.

    Args:
        source: what messages call it.

    Raises:
        ChipError: the bytes are no picture.
    """
    sensor = SENSORS[SENSOR_OF[modality]]
    try:
        with Image.open(io.BytesIO(data)) as picture:
            colors = np.asarray(picture.convert("RGBA"), np.uint8)
            gray = np.asarray(picture.convert("RGB").convert("L"), np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ChipError(
            f"{source}: not a readable picture ({error}); fetch it again", reason="unreadable image"
        ) from None
    valid = colors[..., 3] > 0
    pixels = gray[None] if modality == "sar" else np.moveaxis(colors[..., :3], 2, 0)
    return Observation(
        pixels=np.where(valid, pixels, 0).astype(np.float32),
        bands=sensor.bands,
        modality=modality,
        sensor=sensor.name,
        valid=valid,
        georeference=Georeference(gsd_m=gsd_m),
        date=date,
        source=source,
    )


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The folder in which the images of a benchmark lie, where it is known.

    Attributes:
        root: the folder; None where no image was found: then a question can be scored but not asked.
        told: the file or folder to name in messages.
    """

    root: Path | None
    told: Path

    @classmethod
    def find(cls, named: Path | None, beside: Path, names: Sequence[str]) -> Pictures:
        """The folder of the images.

        Args:
            named: by the user; None to look in `beside`.
            beside: the folder of the benchmark's questions.
            names: of its images.

        Raises:
            SceneError: a folder is named that holds none of them.
        """
        root = beside if named is None else named
        if any(_is_there(root, name) for name in names):
            return cls(root=root, told=root)
        if named is not None and names:
            raise SceneError(
                f"{named}: holds no image of this benchmark, such as {names[0]}; give the folder that does"
            )
        return cls(root=None, told=beside)

    def check(self, names: Sequence[str]) -> None:
        """Refuse a question of which an image is missing while others are there.

        Raises:
            Unusable: one is missing, or lies outside of the folder.
        """
        if self.root is not None and not all(_is_there(self.root, name) for name in names):
            raise Unusable("missing image")

    def read(
        self,
        name: str,
        *,
        modality: Modality = "optical",
        gsd_m: float | None = None,
        date: datetime.date | None = None,
    ) -> Observation:
        """An image by the name that the benchmark gives it.

        Raises:
            ChipError: there are no images, or this one is missing or damaged.
        """
        if self.root is None:
            raise ChipError(f"{self.told}: has no images; give the folder that holds {name}", reason="missing image")
        path = find_image(self.root, name)
        return decode_picture(_bytes(path), source=str(path), modality=modality, gsd_m=gsd_m, date=date)


def _is_there(root: Path, name: str) -> bool:
    try:
        return find_image(root, name).is_file()
    except ChipError:
        return False


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ChipError(f"{path}: cannot be read ({error.strerror}); check it", reason="unreadable image") from None
