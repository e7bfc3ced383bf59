"""Product trees under their exact names: which files are the image, of which sensor and day, and what is refused."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from product_trees import LANDSAT_5, LANDSAT_8, S2_L1C, S2_L2A, grd_product, metadata_xml, safe_l2a, write_image
from terrascope.errors import SceneError
from terrascope.rasters.metadata import MAX_METADATA_BYTES, read_texts
from terrascope.rasters.product_names import date_in
from terrascope.rasters.products import Product, find_product


def names_of(product: Product) -> list[str]:
    assert product.files is not None
    return [Path(path).name for path in product.files]


@pytest.mark.parametrize("below", ["", "GRANULE/L2A_T32TQM_A046200_20240501T101031"])
def test_safe_gives_each_band_once_at_its_finest_resolution(tmp_path: Path, below: str) -> None:
    safe = safe_l2a(tmp_path, xml=metadata_xml(offset=-1000, baseline="05.10"))
    product = find_product(safe / below)
    stem = "T32TQM_20240501T101031_"
    assert names_of(product) == [
        f"{stem}{layer}.jp2"
        for layer in (
            "B01_60m", "B02_10m", "B03_10m", "B04_10m", "B05_20m", "B08_10m", "B09_60m", "B11_20m", "B12_20m",
            "B8A_20m", "SCL_20m",
        )
    ]  # fmt: skip
    assert product.sensor == "sentinel-2-offset" and product.date == datetime.date(2024, 5, 1)
    assert (
        "offset -1000: by MTD_MSIL2A.xml" in product.evidence
        and "baseline 05.10: by MTD_MSIL2A.xml" in product.evidence
    )
    assert product.assumptions == ()


def test_resolution_folder_and_single_band_know_their_product(tmp_path: Path) -> None:
    safe = safe_l2a(tmp_path)
    images = next(safe.glob("GRANULE/*/IMG_DATA"))
    assert names_of(find_product(images / "R60m"))[0] == "T32TQM_20240501T101031_B01_60m.jp2"
    one = find_product(images / "R10m" / "T32TQM_20240501T101031_B04_10m.jp2")
    assert (one.files, one.sensor, one.date) == (None, "sentinel-2-offset", datetime.date(2024, 5, 1))


def test_level_1c_before_the_offset(tmp_path: Path) -> None:
    images = tmp_path / S2_L1C / "GRANULE" / "L1C_T32TQM_A012300_20190715T101039" / "IMG_DATA"
    for band in ("B02", "B03", "B04", "B8A", "TCI"):
        write_image(images / f"T32TQM_20190715T101039_{band}.jp2", size=32, driver="JP2OpenJPEG")
    product = find_product(tmp_path / S2_L1C)
    assert names_of(product) == [f"T32TQM_20190715T101039_{band}.jp2" for band in ("B02", "B03", "B04", "B8A")]
    assert (product.sensor, product.date) == ("sentinel-2", datetime.date(2019, 7, 15))


@pytest.mark.parametrize(
    ("offset", "baseline", "sensor"),
    [(-1000, "05.10", "sentinel-2-offset"), (0, "05.10", "sentinel-2"), (None, "02.14", "sentinel-2"),
     (None, "04.00", "sentinel-2-offset")],
)  # fmt: skip
def test_metadata_decide_where_the_folder_was_renamed(tmp_path: Path, offset, baseline: str, sensor: str) -> None:
    safe = safe_l2a(tmp_path, "renamed", metadata_xml(offset=offset, baseline=baseline))
    product = find_product(safe)
    assert (product.sensor, product.date) == (sensor, datetime.date(2024, 5, 1))


def test_metadata_above_what_is_no_product_say_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "MTD_MSIL2A.xml").write_text(metadata_xml(offset=-1000, baseline="05.10"))
    lone = write_image(tmp_path / "upload-1" / "1" / "B04.tif")
    assert find_product(lone) == find_product([lone]) == find_product(lone.parent) == Product()
    resolution = write_image(tmp_path / "R10m" / "B04.tif")
    assert find_product(resolution) == Product()
    beside = write_image(tmp_path / "B04.tif")
    assert find_product(beside).sensor == "sentinel-2-offset"
    named = write_image(tmp_path / "upload-2" / "T32TQM_20240501T101031_B04_10m.jp2", driver="JP2OpenJPEG")
    assert (find_product(named).sensor, find_product(named).date) == (None, datetime.date(2024, 5, 1))


@pytest.mark.parametrize(
    "place",
    [f"{S2_L2A}/GRANULE/L2A_T32TQM/IMG_DATA/R10m", "renamed/GRANULE/L2A_T32TQM/IMG_DATA/R10m",
     "renamed/GRANULE/L2A_T32TQM/IMG_DATA", "renamed/IMG_DATA", "renamed", f"{S2_L2A}/bands/10m"],
)  # fmt: skip
def test_metadata_of_a_product_are_found_from_any_of_its_folders(tmp_path: Path, place: str) -> None:
    band = write_image(tmp_path / place / "B04.tif")
    (tmp_path / Path(place).parts[0] / "MTD_MSIL2A.xml").write_text(metadata_xml(offset=0, baseline="05.10"))
    product = find_product(band)
    assert product.sensor == "sentinel-2" and "offset 0: by MTD_MSIL2A.xml" in product.evidence
    assert find_product([band]) == product


def test_metadata_that_mean_something_else_are_refused(tmp_path: Path) -> None:
    safe = safe_l2a(tmp_path, xml=metadata_xml(offset=-500, baseline="05.10"))
    with pytest.raises(SceneError, match=r"MTD_MSIL2A.xml: states a quantification of 10000 and offsets of -500"):
        find_product(safe)
    (safe / "MTD_MSIL2A.xml").write_text(metadata_xml(offset=0, baseline="05.10", quantification=4000))
    with pytest.raises(SceneError, match="a quantification of 4000"):
        find_product(safe)


def test_metadata_are_read_without_trust(tmp_path: Path) -> None:
    path = tmp_path / "MTD_MSIL2A.xml"
    path.write_text('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "cc"><!ENTITY d "&b;&b;&b;">]><a>&d;</a>')
    with pytest.raises(SceneError, match=r"MTD_MSIL2A.xml: declares entities"):
        read_texts(path, ["a"])
    path.write_text("<a><b></a>")
    with pytest.raises(SceneError, match=r"is no XML \(mismatched tag"):
        read_texts(path, ["a"])
    path.write_bytes(b"<a>" + b" " * MAX_METADATA_BYTES + b"</a>")
    with pytest.raises(SceneError, match="larger than 16 MiB"):
        read_texts(path, ["a"])
    path.write_text("<n:a xmlns:n='u'>1<b>2</b><a> 3 </a></n:a>")
    assert read_texts(path, ["a", "b", "c"]) == {"a": ["1", "3"], "b": ["2"], "c": []}


def test_two_granules_are_not_one_image(tmp_path: Path) -> None:
    safe = safe_l2a(tmp_path)
    (safe / "GRANULE" / "L2A_T33TUG_A046200_20240501T101031" / "IMG_DATA").mkdir(parents=True)
    with pytest.raises(SceneError, match=r"holds 2 granules; give one of them, such as GRANULE/L2A_T32TQM_"):
        find_product(safe)


def test_archives_are_to_be_unpacked(tmp_path: Path) -> None:
    archive = tmp_path / f"{S2_L2A}.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(SceneError, match=r"\.SAFE\.zip: is an archive; unpack it"):
        find_product(archive)


@pytest.mark.parametrize(
    ("name", "sensor", "bands", "date"),
    [(LANDSAT_8, "landsat", (1, 2, 3, 4, 5, 6, 7), datetime.date(2024, 4, 29)),
     (LANDSAT_5, "landsat-tm", (1, 2, 3, 4, 5, 7), datetime.date(1999, 7, 4))],
)  # fmt: skip
def test_landsat_level_2(tmp_path: Path, name: str, sensor: str, bands: tuple[int, ...], date: datetime.date) -> None:
    for layer in (*(f"SR_B{band}" for band in bands), "ST_B10", "QA_PIXEL", "QA_RADSAT"):
        write_image(tmp_path / name / f"{name}_{layer}.TIF", metres=30)
    (tmp_path / name / f"{name}_MTL.json").write_text("{}")
    product = find_product(tmp_path / name)
    assert names_of(product) == [f"{name}_QA_PIXEL.TIF", *(f"{name}_SR_B{band}.TIF" for band in bands)]
    assert (product.sensor, product.date) == (sensor, date)
    stack = find_product(write_image(tmp_path / f"{name}_stack.tif", count=len(bands)))
    assert (stack.files, stack.sensor, stack.date) == (None, sensor, date)


def test_landsat_level_1_and_two_scenes_are_refused(tmp_path: Path) -> None:
    level_1 = LANDSAT_8.replace("L2SP", "L1TP")
    path = write_image(tmp_path / f"{level_1}_B4.TIF")
    with pytest.raises(SceneError, match="its numbers are no surface reflectance; give the Level-2"):
        find_product(path)
    both = [write_image(tmp_path / "two" / f"{name}_SR_B4.TIF") for name in (LANDSAT_8, LANDSAT_5)]
    with pytest.raises(SceneError, match=rf"belongs to {LANDSAT_8}, but another file to {LANDSAT_5}"):
        find_product(both)
    with pytest.raises(SceneError, match="but another file to"):
        find_product(tmp_path / "two")


@pytest.mark.parametrize(("kind", "bands"), [("L30", ("B02", "B05")), ("S30", ("B02", "B8A"))])
def test_hls_is_told_apart_by_its_name(tmp_path: Path, kind: str, bands: tuple[str, ...]) -> None:
    stem = f"HLS.{kind}.T32TQM.2024123T101031.v2.0"
    for layer in (*bands, "Fmask", "SZA"):
        write_image(tmp_path / stem / f"{stem}.{layer}.tif", metres=30)
    product = find_product(tmp_path / stem)
    assert names_of(product) == [f"{stem}.{layer}.tif" for layer in (*bands, "Fmask")]
    assert (product.sensor, product.date) == (f"hls-{kind.lower()}", datetime.date(2024, 5, 2))


@pytest.mark.parametrize(
    ("name", "sensor"),
    [("20240501_093015_12_24a1_3B_AnalyticMS_SR.tif", "planetscope"),
     ("20240501_093015_24a1_3B_AnalyticMS_SR_harmonized_clip.tif", "planetscope"),
     ("20240501_093015_12_24a1_3B_AnalyticMS_SR_8b_harmonized_clip.tif", "planetscope-8band"),
     ("20240501_093015_12_24a1_3B_Visual.tif", None)],
)  # fmt: skip
def test_planetscope(tmp_path: Path, name: str, sensor: str | None) -> None:
    write_image(tmp_path / "p" / name)
    product = find_product(tmp_path / "p" / name)
    assert (product.sensor, product.date) == (sensor, datetime.date(2024, 5, 1))
    if sensor is not None:
        write_image(tmp_path / "p" / "20240501_093015_12_24a1_3B_udm2_clip.tif", count=8)
        assert names_of(find_product(tmp_path / "p")) == [name]


def test_planetscope_radiance_is_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path / "20240501_093015_12_24a1_3B_AnalyticMS_clip.tif", count=4)
    with pytest.raises(SceneError, match=r"PlanetScope radiance: .*give the AnalyticMS_SR file"):
        find_product(path)


def test_grd_is_uncalibrated_amplitude(tmp_path: Path) -> None:
    product = find_product(grd_product(tmp_path, sigma="400 500 600"))
    assert names_of(product) == [
        "s1a-iw-grd-vh-20240502t053513-20240502t053538-053690-06854a-002.tiff",
        "s1a-iw-grd-vv-20240502t053513-20240502t053538-053690-06854a-001.tiff",
    ]
    assert (product.sensor, product.date) == ("sentinel-1-grd", datetime.date(2024, 5, 2))
    assert product.scaling == (1 / 500, 0.0)
    assert any("sigma nought 500.0 on average (400.0 to 600.0)" in phrase for phrase in product.evidence)
    assert product.assumptions[0].startswith("One mean calibration")


def test_grd_without_calibration_says_what_is_assumed(tmp_path: Path) -> None:
    product = find_product(grd_product(tmp_path, sigma=None) / "measurement")
    assert product.scaling is None
    assert product.assumptions[0].startswith("The amplitudes are not calibrated: 600")


def test_calibration_beside_what_is_no_product_says_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measurement = next((grd_product(tmp_path, sigma="400 500 600") / "measurement").glob("*-vv-*"))
    assert find_product(measurement).scaling == (1 / 500, 0.0)
    monkeypatch.chdir(measurement.parent)
    assert find_product(measurement.name).scaling == (1 / 500, 0.0)
    moved = measurement.rename(measurement.parents[1] / "annotation" / measurement.name)
    assert find_product(moved).scaling is None and find_product(moved).sensor == "sentinel-1-grd"


def test_rtc_products(tmp_path: Path) -> None:
    opera = "OPERA_L2_RTC-S1_T087-185679-IW2_20240101T161622Z_20240102T203016Z_S1A_30_v1.0"
    product = find_product(write_image(tmp_path / f"{opera}_VV.tif"))
    assert (product.sensor, product.date) == ("sentinel-1-linear", datetime.date(2024, 1, 1))
    hyp3 = "S1A_IW_20181102T155531_DVP_RTC30_G_gpuned_5685"
    for layer in ("VV", "VH", "area", "dem", "rgb"):
        write_image(tmp_path / hyp3 / f"{hyp3}_{layer}.tif")
    product = find_product(tmp_path / hyp3)
    assert names_of(product) == [f"{hyp3}_VH.tif", f"{hyp3}_VV.tif"]
    assert (product.sensor, product.date) == (None, datetime.date(2018, 11, 2))


def test_product_folder_dates_the_files_in_it(tmp_path: Path) -> None:
    for name, day in (
        ("S1A_IW_GRDH_1SDV_20200607T010800_20200607T010825_032904_03CFBA_D457", datetime.date(2020, 6, 7)),
        ("20200604T054639_20200604T054831_T43RCP", datetime.date(2020, 6, 4)),
    ):
        path = write_image(tmp_path / name / "VV.tif")
        assert find_product(path).date == day
        assert find_product(path.parent).date == day
        # The name of a GRD product does not say in what unit somebody stored what he made of it.
        assert find_product(path).sensor is None


@pytest.mark.parametrize(
    ("name", "day"),
    [("S2B_20181013_B02", (2018, 10, 13)), ("scene_2021-07-23_rgb", (2021, 7, 23)),
     ("20210723_20210723", (2021, 7, 23)),
     ("20210723_to_20210801", None), ("tile_20241345", None), ("joplin_00000000_pre", None), ("Spain_7370579", None),
     ("202309_00", None), ("id120210723", None), ("18990101", None)],
)  # fmt: skip
def test_dates_in_plain_names(tmp_path: Path, name: str, day: tuple[int, int, int] | None) -> None:
    product = find_product(write_image(tmp_path / f"{name}.tif"))
    assert product.date == (None if day is None else datetime.date(*day))
    assert ("date: by the name" in product.evidence) == (day is not None)


@given(st.dates(min_value=datetime.date(1960, 1, 1), max_value=datetime.date(2100, 12, 31)), st.booleans())
def test_every_day_is_read_back(day: datetime.date, dashes: bool) -> None:
    text = day.isoformat() if dashes else day.strftime("%Y%m%d")
    assert date_in(f"a_{text}_b") == day
    assert date_in(f"{text}_{day + datetime.timedelta(days=1)}") is None


def test_metadata_say_the_day_before_names_do(tmp_path: Path) -> None:
    acquired = find_product(write_image(tmp_path / "sent_20240520.tif", ACQUISITION_DATE="2024-05-01T10:00:00"))
    assert acquired.date == datetime.date(2024, 5, 1) and acquired.evidence[-1].endswith("(ACQUISITION_DATE)")
    written = find_product(write_image(tmp_path / "a.tif", TIFFTAG_DATETIME="2024:05:03 10:00:00"))
    assert written.date == datetime.date(2024, 5, 3)
    assert written.assumptions == (
        "The date 2024-05-03 is that of TIFFTAG_DATETIME, which may be the day on which the file was written.",
    )
    two = find_product(write_image(tmp_path / "20240101_20240102.tif", TIFFTAG_DATETIME="2024:05:03 10:00:00"))
    assert two.date is None
    hls = find_product(write_image(tmp_path / "b.tif", SENSING_TIME="2024-05-02T10:10:31; 2024-05-02T10:10:55"))
    assert hls.date == datetime.date(2024, 5, 2)


def test_dates_of_band_files_must_agree(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"2024050{day}_B0{day}.tif") for day in (2, 3)]
    assert find_product(paths).date is None
    assert find_product(paths[:1]).date == datetime.date(2024, 5, 2)
    assert find_product(tmp_path).date is None
    paths[1].rename(tmp_path / "20240502_B03.tif")
    (tmp_path / "notes.txt").write_text("no image, no day")
    assert find_product(tmp_path).date == datetime.date(2024, 5, 2)


def test_what_is_no_product_is_left_to_the_reader(tmp_path: Path) -> None:
    assert find_product([]) == Product()
    assert find_product([3]) == Product()  # type: ignore[list-item]
    assert find_product(tmp_path) == Product()
    assert find_product(write_image(tmp_path / "a.tif")) == Product()
    with pytest.raises(SceneError, match=r"nope\.tif: no such file"):
        find_product(tmp_path / "nope.tif")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(SceneError, match="loop"):
        find_product(tmp_path / "loop")
    with pytest.raises(SceneError):
        find_product("x" * 5000 + ".tif")
