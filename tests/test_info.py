"""What `terrascope info` says of images: from generated products whose content is known, and of real scenes."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from PIL import Image
from pyproj import Transformer
from rasterio.shutil import copy as copy_raster
from rasterio.vrt import WarpedVRT
from typer.testing import CliRunner

from product_trees import LANDSAT_5, grd_product, metadata_xml, safe_l2a, write_image
from terrascope.cli import app
from terrascope.errors import SceneError
from terrascope.info import guess_modality, look_at, write_picture

UTM = {"crs": "EPSG:32632", "transform": Affine(10, 0, 600_000, 0, -10, 5_100_000)}


def write_stack(path: Path, bands: dict[str, np.ndarray], **profile) -> Path:
    pixels = np.stack(list(bands.values()))
    count, height, width = pixels.shape
    shape = {"count": count, "height": height, "width": width, "dtype": pixels.dtype.name}
    with rasterio.open(path, "w", driver="GTiff", **shape, **{**UTM, **profile}) as dataset:
        dataset.write(pixels)
        dataset.descriptions = tuple(bands)
    return path


def info_of(path: Path, **options) -> dict:
    described = look_at([path], **options).to_dict()
    assert described["scene"] is None and described["problem"] is None
    (image,) = described["images"]
    return image


def test_sentinel_2_product_from_its_folder(tmp_path: Path) -> None:
    image = info_of(safe_l2a(tmp_path, xml=metadata_xml(offset=-1000, baseline="05.10")))
    assert (image["sensor"]["name"], image["modality"], image["date"]) == ("sentinel-2-offset", "optical", "2024-05-01")
    assert (image["width"], image["height"], image["crs"]) == (48, 48, "EPSG:32632")
    names = ["B01", "B02", "B03", "B04", "B05", "B08", "B8A", "B09", "B11", "B12"]
    assert [band["name"] for band in image["bands"]] == names
    # 1500 stored is (1500 - 1000) / 10000, in every band.
    for band in image["bands"]:
        assert [band[key] for key in ("min", "mean", "max")] == pytest.approx([0.05] * 3, rel=1e-4)
        assert band["unit"] == "reflectance"
    nir = image["bands"][5]
    assert (nir["role"], nir["wavelength_nm"], nir["resolution_m"]) == ("nir", 842, 10)
    assert "offset -1000: by MTD_MSIL2A.xml" in image["evidence"] and image["assumptions"] == []
    assert image["pixel_size"]["width_m"] == pytest.approx(10, rel=2e-3)
    assert image["pixel_size"]["basis"].startswith("geodesic, EPSG:32632")
    assert image["valid_share"] == 1.0


def test_landsat_5_has_its_own_scale_and_bands(tmp_path: Path) -> None:
    for band, value in ((1, 8000), (2, 9000), (3, 10_000), (4, 20_000), (5, 15_000), (7, 12_000)):
        write_image(tmp_path / LANDSAT_5 / f"{LANDSAT_5}_SR_B{band}.TIF", metres=30, value=value)
    clear = 5440  # QA_PIXEL of a clear land pixel; 1 would be fill
    write_image(tmp_path / LANDSAT_5 / f"{LANDSAT_5}_QA_PIXEL.TIF", metres=30, value=clear)
    image = info_of(tmp_path / LANDSAT_5)
    assert (image["sensor"]["name"], image["date"]) == ("landsat-tm", "1999-07-04")
    means = {band["role"]: band["mean"] for band in image["bands"]}
    assert means == pytest.approx(
        {"blue": 0.02, "green": 0.0475, "red": 0.075, "nir": 0.35, "swir1": 0.2125, "swir2": 0.13}, abs=1e-5
    )


@pytest.mark.parametrize(("kind", "infrared"), [("L30", "B05"), ("S30", "B8A")])
def test_hls_infrared(tmp_path: Path, kind: str, infrared: str) -> None:
    stem = f"HLS.{kind}.T32TQM.2024123T101031.v2.0"
    for layer, value in (("B02", 300), ("B03", 400), ("B04", 500), (infrared, 3000), ("Fmask", 64)):
        write_image(tmp_path / stem / f"{stem}.{layer}.tif", metres=30, value=value)
    image = info_of(tmp_path / stem)
    assert (image["sensor"]["name"], image["date"]) == (f"hls-{kind.lower()}", "2024-05-02")
    roles = {band["role"]: (band["name"], round(band["mean"], 4)) for band in image["bands"]}
    assert roles["nir" if kind == "L30" else "narrow nir"] == (infrared, 0.3)
    assert roles["red"] == ("B04", 0.05)


def test_grd_is_read_with_its_own_calibration(tmp_path: Path) -> None:
    image = info_of(grd_product(tmp_path, sigma="4000 5000 6000"))
    assert (image["sensor"]["name"], image["modality"]) == ("sentinel-1-grd", "sar")
    # An amplitude of 1500 where 5000 is 0 dB.
    assert image["bands"][0]["mean"] == pytest.approx(20 * np.log10(0.3), abs=1e-4)
    assert image["bands"][0]["unit"] == "decibels"
    assert any(sentence.startswith("One mean calibration") for sentence in image["assumptions"])


def test_what_is_assumed_is_said(tmp_path: Path) -> None:
    bright = np.full((8, 8), 1800, np.uint16)
    image = info_of(write_stack(tmp_path / "s2.tif", {name: bright for name in ("B02", "B03", "B04")}))
    assert image["assumptions"] == [
        "Its numbers begin at 1800 (B02), as those with the offset of processing baseline 04.00 do, but nothing states "
        "it; they are read without it (else give --sensor sentinel-2-offset)."
    ]
    fine = write_stack(tmp_path / "fine.tif", {name: bright // 4 for name in ("B02", "B03", "B04")},
                       transform=Affine(1, 0, 600_000, 0, -1, 5_100_000))  # fmt: skip
    assert info_of(fine)["assumptions"][-1] == (
        "The file says that its pixels measure 1 m, but sentinel-2 delivers 10 m; if they are not that small on the "
        "ground, give --gsd."
    )
    stated = info_of(fine, gsd_m=10)
    assert stated["assumptions"] == [] and stated["pixel_size"]["area_m2"] == 100
    assert "stated as 10 m" in stated["notes"][0]


def test_values_and_valid_share_leave_unmeasured_pixels_out(tmp_path: Path) -> None:
    red = np.arange(1, 65, dtype=np.uint16).reshape(8, 8) * 10
    red[0, 0] = 0
    image = info_of(write_stack(tmp_path / "a.tif", {name: red for name in ("B02", "B03", "B04")}, nodata=0))
    assert image["valid_share"] == 63 / 64
    values = image["bands"][2]
    assert [values["min"], values["max"]] == pytest.approx([0.002, 0.064])
    assert values["mean"] == pytest.approx(1e-3 * np.arange(2, 65).mean(), rel=1e-5)


def test_unknown_place(tmp_path: Path) -> None:
    Image.fromarray(np.full((6, 9, 3), 70, np.uint8)).save(tmp_path / "a.png")
    image = info_of(tmp_path / "a.png")
    assert (image["crs"], image["transform"], image["centre_lonlat"], image["pixel_size"]) == (None,) * 4
    assert (image["width"], image["height"]) == (9, 6)
    assert image["bands"][0] == {"name": "red", "role": "red", "wavelength_nm": None, "resolution_m": None,
                                 "unit": "digital number", "min": 70.0, "mean": 70.0, "max": 70.0}  # fmt: skip


def two_dates(folder: Path, east: float = 40) -> list[Path]:
    dark = {name: np.full((8, 8), 400, np.uint16) for name in ("B02", "B03", "B04")}
    moved = Affine(10, 0, 600_000 + east, 0, -10, 5_100_000)
    return [
        write_stack(folder / "b_20240601.tif", dark),
        write_stack(folder / "a_20240501.tif", dark, transform=moved),
    ]


def test_several_images_are_described_alone_and_together(tmp_path: Path) -> None:
    described = look_at(two_dates(tmp_path)).to_dict()
    assert [(image["date"], image["width"]) for image in described["images"]] == [("2024-06-01", 8), ("2024-05-01", 8)]
    scene = described["scene"]
    assert scene["dates"] == ["2024-05-01", "2024-06-01"] and (scene["width"], scene["height"]) == (4, 8)
    assert any("overlap in 4 x 8 of the 8 x 8 pixels" in note for note in scene["notes"])


def test_optical_and_sar_are_told_apart(tmp_path: Path) -> None:
    optical = write_stack(
        tmp_path / "s2.tif", {name: np.full((8, 8), 400, np.uint16) for name in ("B02", "B03", "B04")}
    )
    backscatter = np.linspace(-25, -5, 64, dtype=np.float32).reshape(8, 8)
    sar = write_stack(tmp_path / "s1.tif", {"VV": backscatter})
    assert (guess_modality(optical), guess_modality(sar)) == ("optical", "sar")
    described = look_at([sar, optical]).to_dict()
    assert [image["modality"] for image in described["images"]] == ["optical", "sar"]
    assert described["scene"]["num_dates"] == 1
    # A sensor that is named for one modality decides what the file leaves open.
    unnamed = write_stack(tmp_path / "x.tif", {"": backscatter, " ": backscatter - 6})
    assert look_at([unnamed], sar_sensor="sentinel-1").images[0].observations[0].bands == ("VV", "VH")
    with pytest.raises(SceneError, match="no image was given"):
        look_at()


def test_on_the_command_line(tmp_path: Path) -> None:
    safe = safe_l2a(tmp_path)
    result = CliRunner().invoke(app, ["info", str(safe), "--json", "--picture", str(tmp_path / "p.png")])
    assert result.exit_code == 0
    (image,) = json.loads(result.stdout)["images"]
    assert image["sensor"]["name"] == "sentinel-2-offset"
    with Image.open(tmp_path / "p.png") as picture:
        # A reflectance of 0.05 is a sixth of the 0.3 that is shown white.
        assert picture.size == (48, 48) and picture.getpixel((20, 20)) == (42, 42, 42)
    text = CliRunner().invoke(app, ["info", str(safe)]).stdout
    for said in ("sentinel-2-offset", "2024-05-01", "48 x 48 pixels", "EPSG:32632", "B8A", "narrow nir", "865 nm"):
        assert said in text


def test_a_part_another_grid_and_virtual_files_on_the_command_line(tmp_path: Path) -> None:
    red = np.arange(64, dtype=np.uint16).reshape(8, 8) + 300
    optical = write_stack(tmp_path / "s2.tif", {name: red for name in ("B02", "B03", "B04")})
    coarse = {"transform": Affine(20, 0, 600_000, 0, -20, 5_100_000)}
    sar = write_stack(tmp_path / "s1.tif", {"VV": np.full((4, 4), -5, np.float32)}, **coarse)
    west, north = Transformer.from_crs(32632, 4326, always_xy=True).transform(600_021, 5_099_999)
    east, south = Transformer.from_crs(32632, 4326, always_xy=True).transform(600_059, 5_099_961)
    bbox = f"{west},{south},{east},{north}"
    virtual = tmp_path / "s2.vrt"
    with rasterio.open(optical) as source, WarpedVRT(source) as vrt:
        copy_raster(vrt, virtual, driver="VRT")
    told = ["info", str(virtual), "--sar", str(sar), "--bbox", bbox, "--reference", "sar", "--json"]
    refused = CliRunner().invoke(app, told)
    assert refused.exit_code == 2 and "--allow-virtual" in refused.stderr
    result = CliRunner().invoke(app, [*told, "--allow-virtual"])
    assert result.exit_code == 0, result.stderr
    described = json.loads(result.stdout)
    assert [(image["width"], image["height"]) for image in described["images"]] == [(4, 4), (2, 2)]
    values = described["images"][0]["bands"][2]
    assert (values["min"], values["max"]) == pytest.approx(((300 + 2) / 1e4, (300 + 3 * 8 + 5) / 1e4))
    assert described["scene"]["width"] == 2 and described["scene"]["pixel_size"]["width_m"] == pytest.approx(
        20, rel=1e-3
    )


def test_progress_is_told_of_reading_and_of_values(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s1.tif", {"VV": np.full((8, 8), -5, np.float32)})
    told: list[tuple[str, int, int]] = []
    info = look_at([path], progress=lambda *arguments: told.append(arguments))
    assert told == [(str(path), 8, 8)]
    info.to_dict(lambda *arguments: told.append(arguments))
    assert told == [(str(path), 8, 8)] * 2


def test_images_apart_are_described_before_the_error(tmp_path: Path) -> None:
    paths = [str(path) for path in two_dates(tmp_path, east=4000)]
    result = CliRunner().invoke(app, ["info", *paths, "--json"])
    assert result.exit_code == 2
    described = json.loads(result.stdout)
    assert len(described["images"]) == 2 and described["scene"] is None
    assert "does not overlap" in described["problem"]
    assert "these images do not form one scene" in result.stderr


def test_a_picture_is_a_png(tmp_path: Path) -> None:
    info = look_at([write_stack(tmp_path / "s1.tif", {"VV": np.full((8, 8), -5, np.float32)})])
    with pytest.raises(SceneError, match=r"p\.jpg: a picture is written as PNG"):
        write_picture(info, tmp_path / "p.jpg")
    assert not (tmp_path / "p.jpg").exists()


def test_torch_is_not_loaded(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "s1.tif", {"VV": np.full((8, 8), -5, np.float32)})
    code = f"import sys; from terrascope.cli import app; app(['info', {str(path)!r}], standalone_mode=False)"
    code += "; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("path", "options", "sensor", "size", "date"),
    [
        ("hls-worldcover/images/0.tif", {}, "hls", (128, 128), None),
        ("terramind/S2RGB/282D_485L_3_3.tif", {}, "rgb", (224, 224), datetime.date(2021, 7, 23)),
        ("terramind/S2L2A/282D_485L_3_3.tif", {"sensor": "sentinel-2"}, "sentinel-2", (224, 224), None),
        ("terramind/S1RTC/282D_485L_3_3.tif", {"sar_sensor": "sentinel-1"}, "sentinel-1", (224, 224),
         datetime.date(2021, 7, 21)),
        ("sen1floods11/Spain_7370579_S2Hand.tif", {}, "sentinel-2", (512, 512), None),
        ("sen1floods11/Spain_7370579_S1Hand.tif", {}, "sentinel-1", (512, 512), None),
        ("s1-s2-dates/s2a/0000200/20200604T054639_20200604T054831_T43RCP", {}, "sentinel-2", (264, 264),
         datetime.date(2020, 6, 4)),
        ("s1-s2-dates/s1/0000200/S1A_IW_GRDH_1SDV_20200607T010800_20200607T010825_032904_03CFBA_D457", {},
         "sentinel-1", (264, 264), datetime.date(2020, 6, 7)),
        ("korea-s2/images/202309_00.tif", {}, "rgb", (512, 512), None),
        ("xbd/images/joplin-tornado_00000000_pre_disaster.png", {}, "rgb", (1024, 1024), None),
        ("ombria/s1_before/train_0177.png", {"sar_sensor": "sar-8bit"}, "sar-8bit", (256, 256), None),
    ],
)  # fmt: skip
def test_real_scenes(real_data: Path, path: str, options, sensor: str, size, date) -> None:
    image = info_of(real_data / path, **options)
    assert image["sensor"]["name"] == sensor
    assert (image["height"], image["width"]) == size
    assert image["date"] == (None if date is None else date.isoformat())
    assert 0.9 < image["valid_share"] <= 1
    assert all(band["min"] <= band["mean"] <= band["max"] for band in image["bands"])
