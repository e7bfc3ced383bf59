"""Answers as labelled arrays and tables: against the grid that was written, and against the readers of others."""

from __future__ import annotations

import datetime
import sys
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import odc.geo.xr  # noqa: F401
import pandas
import pytest
import xarray
from affine import Affine
from geopandas.testing import assert_geodataframe_equal
from pyproj import CRS

from terrascope.answer import Answer
from terrascope.errors import OutputError
from terrascope.georeference import Georeference
from terrascope.rasters.read import open_scene
from terrascope.scene import Pair, Scene
from tests.oracle import HEIGHT, TREE, WATER, WIDTH, Oracle, ground, make_scene, write_picture
from tests.test_report import two_dates

QUESTION = "What percentage of the image is water?"


def located(crs: str, transform: Affine) -> Answer:
    image = make_scene().observations[0]
    placed = replace(image, georeference=Georeference(crs=CRS(crs), transform=transform))
    return Oracle(stated_percent=30).ask(Scene.of(optical=[placed]), QUESTION)


UTM = located("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_000_000))


def without_steps(scene: Scene) -> Answer:
    return Answer.from_reasoning(
        scene=scene,
        question="Is there snow?",
        reasoning="<think>There is none.</think><answer>No</answer>",
        groundings=[],
        model="test",
    )


def test_the_masks_lie_on_the_grid_with_what_is_known_of_them(tmp_path: Path) -> None:
    scene = open_scene(optical=[write_picture(tmp_path / "scene.tif", located=True)], dates=["2024-05-01"])
    dataset = Oracle(stated_percent=30).ask(scene, QUESTION, options=["5%", "30%"]).to_xarray()
    assert dict(dataset.sizes) == {"step": 2, "y": HEIGHT, "x": WIDTH}
    assert dataset.mask.dtype == bool and dataset.mask.dims == ("step", "y", "x")
    np.testing.assert_array_equal(dataset.mask, [WATER, TREE])
    assert dataset.valid.all()
    np.testing.assert_array_equal(dataset.x, 500_005 + 10 * np.arange(WIDTH))
    np.testing.assert_array_equal(dataset.y, 4_999_995 - 10 * np.arange(HEIGHT))
    known = {name: dataset[name].values.tolist() for name in dataset.coords if dataset[name].dims == ("step",)}
    assert known == {
        "step": [1, 2],
        "name": ["The water", "The trees"],
        "text": ["The water:", "The trees:"],
        "finding": ["It covers 30% of the image.", "They cover 12.5% of the image."],
        "image": [1, 1],
        "date": [pandas.Timestamp("2024-05-01").value] * 2,
        "num_pixels": [200, 250],
        "coverage": [0.1, 0.125],
        "area_m2": pytest.approx([20_000, 25_000], rel=1e-3),
        "num_objects": [1, 1],
        "position": ["northwestern part", "southeastern part"],
        "distance_to_previous_step_m": pytest.approx([np.nan, 10 * np.hypot(11, 16)], rel=1e-3, nan_ok=True),
        "confidence": [0.75, 0.75],
        "num_optical_tokens": [7, 7],
        "num_sar_tokens": [2, 2],
        "agrees": [False, True],
        "disagreements": ["The text says 30 %, but the mask shows 10 %.", ""],
    }
    assert dataset.date.dtype == "datetime64[ns]"
    assert dataset.area_m2.attrs["units"] == "m2" and dataset.coverage.attrs["units"] == "1"
    assert {name: dataset.attrs[name] for name in ("question", "options", "answer", "answer_option", "model")} == {
        "question": QUESTION, "options": "5%; 30%", "answer": "B", "answer_option": "30%", "model": "oracle",
    }  # fmt: skip


def test_the_number_of_pixels_is_the_sum_of_the_mask() -> None:
    dataset = two_dates().to_xarray()
    assert dataset.mask.sum(("y", "x")).values.tolist() == dataset.num_pixels.values.tolist() == [200, 250]
    # Five columns of the second image, which the first step looks at, were not measured.
    assert (~dataset.valid).sum(("y", "x")).values.tolist() == [5 * HEIGHT, 0]
    assert dataset.image.values.tolist() == [2, 1]
    assert [str(day)[:10] for day in dataset.date.values] == ["2024-05-02", "2024-05-01"]


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32633", Affine(10, 0, 500_000, 0, -10, 5_000_000)),
        ("EPSG:32633", Affine(10, 0, 500_000, 0, 10, 5_000_000)),
        ("EPSG:4326", Affine(1 / 3600, 0, 15.1, 0, -1 / 3600, 47.3)),
        ("EPSG:3857", Affine(9.554628535647032, 0, 1_600_000.1, 0, -9.554628535647032, 6_000_000.7)),
        ("EPSG:2263", Affine(30, 0, 980_000, 0, -30, 200_000)),
        ("EPSG:32633", Affine(10, 3, 500_000, 2, -10, 5_000_000)),
    ],
    ids=["UTM", "south up", "degrees", "Web Mercator", "US feet", "rotated"],
)
def test_odc_geo_reads_the_place(crs: str, transform: Affine) -> None:
    dataset = located(crs, transform).to_xarray()
    for told in (dataset, dataset.mask, dataset.isel(step=0).mask):
        geobox = told.odc.geobox
        assert told.odc.crs == crs and geobox.shape == (HEIGHT, WIDTH)
        assert geobox.transform == transform
    # A part of it is still in its place.
    part = dataset.mask.isel(y=slice(30, None), x=slice(25, None)).odc.geobox
    assert part.transform.almost_equals(transform @ Affine.translation(25, 30), precision=1e-6)


def test_units_of_the_axes_are_those_of_the_crs() -> None:
    assert UTM.to_xarray().x.attrs["standard_name"] == "projection_x_coordinate"
    degrees = located("EPSG:4326", Affine(0.001, 0, 15, 0, -0.001, 47)).to_xarray()
    assert (degrees.x.attrs["units"], degrees.y.attrs["units"]) == ("degrees_east", "degrees_north")
    assert (degrees.x.attrs["standard_name"], degrees.y.attrs["standard_name"]) == ("longitude", "latitude")
    np.testing.assert_allclose(degrees.y[:2], [46.9995, 46.9985])


def test_the_geotransform_is_that_of_gdal() -> None:
    told = located("EPSG:32633", Affine(10, 3, 500_000, 2, -10, 5_000_000)).to_xarray()
    assert told.spatial_ref.attrs["GeoTransform"] == "500000.0 10.0 3.0 5000000.0 2.0 -10.0"
    assert CRS.from_wkt(told.spatial_ref.attrs["crs_wkt"]) == CRS("EPSG:32633")
    assert (told.x.values[:2].tolist(), told.y.values[:2].tolist()) == ([0.5, 1.5], [0.5, 1.5])


def test_without_a_place_the_coordinates_are_pixels() -> None:
    dataset = Oracle().ask(make_scene(gsd_m=10), QUESTION).to_xarray()
    assert "spatial_ref" not in dataset.coords and dataset.odc.crs is None
    assert dataset.x.values[:2].tolist() == [0.5, 1.5] and dataset.attrs["gsd_m"] == 10
    assert dataset.area_m2.values.tolist() == [20_000, 25_000]
    unknown = Oracle().ask(make_scene(), QUESTION).to_xarray()
    assert np.isnan(unknown.area_m2).all() and np.isnat(unknown.date).all() and "gsd_m" not in unknown.attrs


@pytest.mark.parametrize("answer", [UTM, without_steps(UTM.scene), two_dates()], ids=["UTM", "no step", "no place"])
def test_a_netcdf_file_holds_the_same(tmp_path: Path, answer: Answer) -> None:
    dataset = answer.to_xarray()
    dataset.to_netcdf(tmp_path / "masks.nc", engine="scipy")
    with xarray.open_dataset(tmp_path / "masks.nc", engine="scipy", decode_coords="all") as read:
        xarray.testing.assert_equal(read, dataset)
        assert read.mask.dtype == bool
        assert read.odc.crs == dataset.odc.crs and read.odc.transform == dataset.odc.transform


def test_names_that_are_no_text_do_not_stop_a_file(tmp_path: Path) -> None:
    answer = Answer.from_reasoning(
        scene=make_scene(),
        question="Where\udc80?",
        reasoning="<think>Here\udc80: [SEG]\x00</think><answer>here</answer>",
        groundings=[ground(WATER)],
        model="test",
    )
    dataset = answer.to_xarray()
    dataset.to_netcdf(tmp_path / "masks.nc", engine="scipy")
    assert dataset.text.values.tolist() == ["Here :"] and dataset.attrs["question"] == "Where ?"


def test_without_a_step_nothing_but_the_number_of_rows_differs() -> None:
    full, empty = UTM.to_xarray(), without_steps(UTM.scene).to_xarray()
    assert dict(empty.sizes) == {"step": 0, "y": HEIGHT, "x": WIDTH}
    assert list(empty.coords) == list(full.coords) and empty.odc.geobox == full.odc.geobox
    for name in full.variables:
        assert empty[name].dtype.kind == full[name].dtype.kind
    table, filled = without_steps(UTM.scene).to_geodataframe(), UTM.to_geodataframe()
    assert len(table) == 0 and table.crs == filled.crs == "EPSG:32633"
    assert list(table.columns) == list(filled.columns)
    assert table.dtypes.to_dict() == filled.dtypes.to_dict()
    together = pandas.concat([filled, table])
    assert isinstance(together, geopandas.GeoDataFrame) and len(together) == 2
    nowhere = without_steps(make_scene()).to_geodataframe()
    assert nowhere.crs is None and len(nowhere) == 0


@pytest.mark.parametrize("answer", [UTM, two_dates()], ids=["UTM", "no place"])
def test_the_table_is_what_the_file_holds(tmp_path: Path, answer: Answer) -> None:
    file = answer.save(tmp_path)["masks.parquet"]
    assert_geodataframe_equal(answer.to_geodataframe(), geopandas.read_parquet(file))


def test_outlines_lie_in_the_crs_of_the_scene() -> None:
    table = UTM.to_geodataframe()
    assert table.crs == "EPSG:32633"
    assert table.geometry.bounds.to_numpy().tolist() == [
        [500_000, 4_999_800, 500_100, 5_000_000],
        [500_250, 4_999_600, 500_500, 4_999_700],
    ]
    assert table.geometry.area.tolist() == [20_000, 25_000]
    assert table["name"].tolist() == ["The water", "The trees"]
    dated = two_dates().to_geodataframe()
    assert dated["date"].tolist() == [datetime.date(2024, 5, 2), datetime.date(2024, 5, 1)]
    assert dated.crs is None and dated["note"].str.startswith("pixel coordinates").all()


def test_an_empty_mask_is_a_row_without_an_outline() -> None:
    answer = Answer.from_reasoning(
        scene=Scene((Pair(optical=UTM.scene.observations[0]),)),
        question="Where?",
        reasoning="<think>Snow: [SEG]</think><answer>nowhere</answer>",
        groundings=[ground(np.zeros_like(WATER))],
        model="test",
    )
    assert answer.to_geodataframe().geometry.isna().tolist() == [True]
    assert answer.to_xarray().coverage.values.tolist() == [0.0] and not answer.to_xarray().mask.any()


@pytest.mark.parametrize(("method", "package"), [("to_xarray", "xarray"), ("to_geodataframe", "geopandas")])
def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, method: str, package: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(OutputError, match=rf"needs the package {package}; .* pip install 'terrascope-eo\[notebook\]'"):
        getattr(UTM, method)()
