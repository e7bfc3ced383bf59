"""Small products in the layout and under the names in which agencies deliver them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

S2_L2A = "S2A_MSIL2A_20240501T101031_N0510_R022_T32TQM_20240501T160000.SAFE"
S2_L1C = "S2B_MSIL1C_20190715T101039_N0208_R022_T32TQM_20190715T122211.SAFE"
LANDSAT_8 = "LC08_L2SP_193027_20240429_20240510_02_T1"
LANDSAT_5 = "LT05_L2SP_193027_19990704_20200908_02_T1"
GRD = "S1A_IW_GRDH_1SDV_20240502T053513_20240502T053538_053690_06854A_1B2C.SAFE"


def write_image(
    path: Path, *, size: int = 4, metres: float = 10, count: int = 1, value: int = 1500, driver: str = "GTiff", **tags
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"crs": "EPSG:32632", "transform": Affine(metres, 0, 600_000, 0, -metres, 5_100_000)}
    if driver == "JP2OpenJPEG":
        profile |= {"QUALITY": "100", "REVERSIBLE": "YES"}
    with rasterio.open(
        path, "w", driver=driver, width=size, height=size, count=count, dtype="uint16", **profile
    ) as dataset:
        dataset.write(np.full((count, size, size), value, np.uint16))
        dataset.update_tags(**tags)
    return path


def metadata_xml(*, offset: int | None, baseline: str, level: str = "BOA", quantification: int = 10000) -> str:
    quantity = "BOA_QUANTIFICATION_VALUE" if level == "BOA" else "QUANTIFICATION_VALUE"
    offsets = (
        ""
        if offset is None
        else "".join(f'<{level}_ADD_OFFSET band_id="{band}">{offset}</{level}_ADD_OFFSET>' for band in range(13))
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><n1:User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/">'
        f"<n1:General_Info><Product_Info><PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>"
        "<Datatake><DATATAKE_SENSING_START>2024-05-01T10:10:31.024Z</DATATAKE_SENSING_START></Datatake></Product_Info>"
        f'<{quantity} unit="none">{quantification}</{quantity}>{offsets}</n1:General_Info></n1:User_Product>'
    )


def safe_l2a(folder: Path, name: str = S2_L2A, xml: str | None = None) -> Path:
    """A level-2A product with the files that lie in one: bands at all their resolutions, and layers that are none."""
    granule = folder / name / "GRANULE" / "L2A_T32TQM_A046200_20240501T101031"
    layers = {
        "R10m": ("B02", "B03", "B04", "B08", "AOT", "WVP", "TCI"),
        "R20m": ("B02", "B03", "B04", "B05", "B8A", "B11", "B12", "SCL", "TCI"),
        "R60m": ("B01", "B02", "B03", "B04", "B09", "B11", "SCL"),
    }
    for resolution, names in layers.items():
        for layer in names:
            metres = int(resolution[1:3])
            file = granule / "IMG_DATA" / resolution / f"T32TQM_20240501T101031_{layer}_{metres}m.jp2"
            write_image(file, size=240 // metres * 2, metres=metres, driver="JP2OpenJPEG")
    if xml is not None:
        (folder / name / "MTD_MSIL2A.xml").write_text(xml)
    return folder / name


def grd_product(folder: Path, *, sigma: str | None) -> Path:
    for polarisation, number in (("vv", 1), ("vh", 2)):
        stem = f"s1a-iw-grd-{polarisation}-20240502t053513-20240502t053538-053690-06854a-00{number}"
        write_image(folder / GRD / "measurement" / f"{stem}.tiff")
        if sigma is not None:
            calibration = folder / GRD / "annotation" / "calibration" / f"calibration-{stem}.xml"
            calibration.parent.mkdir(parents=True, exist_ok=True)
            calibration.write_text(f"<calibration><sigmaNought count='3'>{sigma}</sigmaNought></calibration>")
    return folder / GRD
