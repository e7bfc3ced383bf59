"""Manifests: what their cells mean, in all three kinds of file, and how they are refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import geopandas
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from shapely.geometry import Polygon, box

from terrascope.batch.manifest import COLUMNS, read_manifest
from terrascope.batch.plan import FileImages, file_names
from terrascope.errors import ManifestError, TerraScopeError
from tests.batch.made_manifests import WATER


def write_csv(folder: Path, rows: list[dict[str, str]], columns: tuple[str, ...] = ()) -> Path:
    path = folder / "manifest.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns or tuple(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    return path


def images_of(path: Path, number: int = 0) -> FileImages:
    images = read_manifest(path).scenes[number].images
    assert isinstance(images, FileImages)
    return images


def test_every_column_means_what_it_says(tmp_path: Path) -> None:
    row = {
        "id": "first",
        "scene": "Elbe",
        "optical": "a/B02.tif,a/B03.tif,a/B04.tif;b.tif",
        "sar": "c.tif;https://host/d.tif",
        "date": "2024-05-01;2024-06-01",
        "sensor": "sentinel-2",
        "sar_sensor": "sentinel-1-linear",
        "gsd": "10.5",
        "nodata": "-9999",
        "reference": "sar",
        "bbox": "9.5,53,10,53.5",
        "question": " How much is\tflooded? ",
        "options": "A. 10%|B. 20%",
        "user:site": "Hamburg",
    }
    plan = read_manifest(write_csv(tmp_path, [row]))
    (scene,) = plan.scenes
    assert scene.name == "Elbe"
    assert scene.images == FileImages(
        optical=(("a/B02.tif", "a/B03.tif", "a/B04.tif"), ("b.tif",)),
        sar=(("c.tif",), ("https://host/d.tif",)),
        dates=("2024-05-01", "2024-06-01"),
        sensor="sentinel-2",
        sar_sensor="sentinel-1-linear",
        gsd_m=10.5,
        nodata=-9999.0,
        reference="sar",
        bbox=(9.5, 53.0, 10.0, 53.5),
        folder=str(tmp_path),
    )
    (question,) = scene.questions
    assert (question.id, question.file_name, question.options) == ("first", "first", ("10%", "20%"))
    assert dict(question.user) == {"user:site": "Hamburg"}


def test_rows_of_one_scene_are_asked_together(tmp_path: Path) -> None:
    rows = [
        {"optical": "a.tif", "question": "one?", "gsd": ""},
        {"optical": "b.tif", "question": "two?", "gsd": ""},
        {"optical": "a.tif", "question": "three?", "gsd": ""},
        {"optical": "a.tif", "question": "four?", "gsd": "3"},
    ]
    plan = read_manifest(write_csv(tmp_path, rows))
    assert [[q.id for q in scene.questions] for scene in plan.scenes] == [["1", "3"], ["2"], ["4"]]


def test_questions_of_the_command_are_asked_of_every_scene(tmp_path: Path) -> None:
    path = write_csv(tmp_path, [{"id": "a", "optical": "a.tif"}, {"id": "b", "optical": "b.tif"}])
    assert [q.id for scene in read_manifest(path, [WATER]).scenes for q in scene.questions] == ["a", "b"]
    plan = read_manifest(path, [WATER, "Is there snow?"], sensor="rgb")
    assert [q.id for scene in plan.scenes for q in scene.questions] == ["a-1", "a-2", "b-1", "b-2"]
    assert {scene.images.sensor for scene in plan.scenes} == {"rgb"}


def test_geojson_gives_boxes_and_lists(tmp_path: Path) -> None:
    path = tmp_path / "places.geojson"
    geometry = {"type": "Polygon", "coordinates": [[[9, 53], [10, 53], [10, 54], [9, 54], [9, 53]]]}
    features = [
        {
            "type": "Feature",
            "id": 7,
            "geometry": geometry,
            "properties": {"optical": [["odd, name.tif", "b.tif"]], "question": WATER, "options": ["10%", "20%"]},
        },
        {"type": "Feature", "id": 8, "geometry": None, "properties": {"optical": "c.tif", "question": WATER}},
        {
            "type": "Feature", "id": 9, "geometry": geometry, "bbox": [179, 1, -179, 2],
            "properties": {"optical": "c.tif", "question": WATER},
        },
    ]  # fmt: skip
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    plan = read_manifest(path)
    assert [q.id for scene in plan.scenes for q in scene.questions] == ["7", "8", "9"]
    assert images_of(path).bbox == (9, 53, 10, 54)
    assert images_of(path).optical == (("odd, name.tif", "b.tif"),)
    assert plan.scenes[0].questions[0].options == ("10%", "20%")
    assert images_of(path, 1).bbox is None
    assert images_of(path, 2).bbox == (179, 1, -179, 2)


def test_geoparquet_gives_boxes_in_degrees(tmp_path: Path) -> None:
    frame = geopandas.GeoDataFrame(
        {"id": [1, 2], "optical": ["a.tif", "b.tif"], "question": [WATER, WATER], "gsd": [10.0, None]},
        geometry=[box(500_000, 5_000_000, 501_000, 5_001_000), None],
        crs="EPSG:32633",
    )
    path = tmp_path / "m.parquet"
    frame.to_parquet(path, write_covering_bbox=False)
    images = images_of(path)
    assert images.bbox is not None
    assert images.bbox == pytest.approx((15.0, 45.1534, 15.0127, 45.1624), abs=2e-4)
    assert (images.gsd_m, images_of(path, 1).gsd_m, images_of(path, 1).bbox) == (10.0, None, None)
    frame.to_crs("EPSG:4326").to_parquet(path, write_covering_bbox=True)
    assert images_of(path).bbox == pytest.approx(images.bbox, abs=1e-6)


def good(**changes: str) -> dict[str, str]:
    return {"id": "1", "optical": "a.tif", "question": WATER, **changes}


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([good(optcal="x")], "unknown column 'optcal'; did you mean optical, or user:optcal to keep it"),
        ([good(**{"user:": "x"})], "unknown column 'user:'"),
        ([good(), good()], "row 2, column id: '1' is also that of row 1; give each row its own"),
        ([good(), good(id=" ")], "row 2, column id: is empty"),
        ([good(question=" ")], "row 1, column question: is empty"),
        ([good(optical="")], "row 1, column optical: names no image"),
        ([good(optical="a.tif;;b.tif")], "row 1, column optical: 'a.tif;;b.tif' has an empty part"),
        ([good(sar="a.tif;b.tif")], "row 1, column sar: 1 optical and 2 SAR images cannot be paired"),
        ([good(date="2024-13-01")], "row 1, column date: date '2024-13-01' is not a day; write it as YYYY-MM-DD"),
        ([good(date="2024-01-01;2024-01-02")], "row 1, column date: 2 dates were given for 1 image"),
        ([good(sensor="nikon")], "row 1, column sensor: unknown sensor 'nikon'"),
        ([good(sensor="sentinel-1")], "row 1, column sensor: sentinel-1 is no sensor of optical images"),
        ([good(gsd="ten")], "row 1, column gsd: 'ten' is no number"),
        ([good(gsd="-1")], "row 1, column gsd: "),
        ([good(nodata="nan")], "row 1, column nodata: 'nan' is no finite number"),
        ([good(reference="both")], "row 1, column reference: 'both' is not known; write optical or sar"),
        ([good(bbox="1,2,3")], "row 1, column bbox: bbox 1,2,3 is not a box"),
        ([good(bbox="9,54,10,53")], "row 1, column bbox: .* south below north"),
        ([good(options="water")], "row 1, column options: a question takes 2 to 5 options, but 1 were given"),
        ([good(options="a|a")], "row 1, column options: the option 'a' is given twice"),
        ([good(scene="s"), good(id="2", scene="s", optical="b.tif")], "row 2, column scene: s has other images"),
    ],
)
def test_what_is_wrong_is_named_by_row_and_column(tmp_path: Path, rows: list[dict[str, str]], reason: str) -> None:
    path = write_csv(tmp_path, rows)
    with pytest.raises(ManifestError, match=rf"manifest\.csv: {reason}"):
        read_manifest(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("m.csv", b"", "is empty"),
        ("m.csv", b"\xef\xbb\xbf", "is empty"),
        ("m.csv", b"optical,question\n", "has no row"),
        ("m.csv", b"optical,question\na.tif,\xff?\n", "byte 24 is no UTF-8"),
        ("m.csv", b"optical,question\na.tif\n", "row 1 has 1 cells, but the header names 2 columns"),
        ("m.csv", b"optical,,question\n", "column 2 has no name"),
        ("m.csv", b"optical,optical\n", "has two columns 'optical'"),
        ("m.csv", b'optical,question\n"a.tif,b\n', "line 2 is no CSV"),
        ("m.csv", b"question\nWhere?\n", "has neither a column optical nor a column sar"),
        ("m.csv", b"optical\na.tif\n", "asks nothing; give a column question, or --question TEXT"),
        ("m.csv", b"optical,options\na.tif,a|b\n", "asks nothing"),
        ("m.geojson", b"{", "is no JSON"),
        ("m.geojson", b"[" * 100_000, "is no JSON"),
        ("m.geojson", b"[]", "is no GeoJSON FeatureCollection"),
        ("m.geojson", b'{"features": [3]}', "row 1 is no GeoJSON feature"),
        ("m.geojson", b'{"features": [{"geometry": {"type": "Ball"}, "properties": {}}]}', "row 1, geometry: "),
        ("m.parquet", b"PAR1 and nothing else", "cannot be read as Parquet"),
        ("m.xlsx", b"PK", "is no manifest; give a file that ends in .csv, .parquet, .geojson"),
    ],
)
def test_a_file_that_is_no_manifest(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ManifestError, match=f"{name}: {reason}"):
        read_manifest(path)


def test_a_manifest_that_is_not_there_or_asks_twice(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        read_manifest(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(_folder(tmp_path / "m.csv"))
    with pytest.raises(ManifestError, match="has a column question; leave out --question"):
        read_manifest(write_csv(_folder(tmp_path / "x"), [good()]), [WATER])
    with pytest.raises(ManifestError, match="--question is empty"):
        read_manifest(write_csv(_folder(tmp_path / "y"), [{"optical": "a"}]), [" "])


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n;,|"), min_size=1).filter(
    lambda s: s.strip() == s
)
ROW = st.fixed_dictionaries(
    {
        "optical": PLAIN,
        "question": PLAIN,
        "gsd": st.floats(0.01, 1e5),
        "nodata": st.floats(-1e9, 1e9),
        "user:note": PLAIN,
    }
)


@given(rows=st.lists(ROW, min_size=1, max_size=5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_in_all_three_kinds(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    rows = [{**row, "id": f"row {number}"} for number, row in enumerate(rows)]
    write_csv(tmp_path, [{name: str(value) for name, value in row.items()} for row in rows])
    features = [{"type": "Feature", "geometry": None, "properties": row} for row in rows]
    (tmp_path / "manifest.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "manifest.parquet")
    plans = [read_manifest(tmp_path / f"manifest.{kind}") for kind in ("csv", "geojson", "parquet")]
    assert {plan.digest for plan in plans} == {plans[0].digest}
    found = {
        question.id: (scene.images.optical[0][0], question.question, scene.images.gsd_m, dict(question.user))
        for scene in plans[0].scenes
        for question in scene.questions
    }
    assert found == {
        row["id"]: (row["optical"], row["question"], row["gsd"], {"user:note": row["user:note"]}) for row in rows
    }


CELL = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.text(), max_size=3),
    st.lists(st.floats(), max_size=5), st.dictionaries(st.text(), st.integers(), max_size=2),
)  # fmt: skip


@given(rows=st.lists(st.dictionaries(st.sampled_from((*COLUMNS, "user:x", "odd")), CELL), max_size=3), geometry=CELL)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_cell_gives_a_traceback(tmp_path: Path, rows: list[dict[str, Any]], geometry: Any) -> None:
    path = tmp_path / "m.geojson"
    features = [{"type": "Feature", "geometry": geometry, "properties": row} for row in rows]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    _read_or_refuse(path)


@given(content=st.binary(max_size=200), kind=st.sampled_from(("csv", "geojson", "parquet")))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_give_a_traceback(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / f"m.{kind}"
    head = b"id,optical,question\n" if kind == "csv" else b""
    path.write_bytes(head + content)
    _read_or_refuse(path)


def test_no_flipped_byte_of_a_parquet_file_gives_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    parquet.write_table(pa.table({"optical": ["a.tif"] * 3, "question": [WATER] * 3}), path)
    whole = path.read_bytes()
    for place in range(4, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        _read_or_refuse(path)


def _read_or_refuse(path: Path) -> None:
    try:
        read_manifest(path).digest  # noqa: B018
    except TerraScopeError as error:
        assert "\n" not in str(error)


@given(texts=st.lists(st.text(max_size=100), max_size=8))
def test_file_names_are_safe_and_differ(texts: list[str]) -> None:
    names = file_names(texts, frozenset({"item"}))
    assert len({name.lower() for name in names}) == len(names)
    for text, name in zip(texts, names, strict=True):
        assert name not in ("", ".", "..", "item") and "/" not in name and len(name) < 100
        if text.isascii() and text.isalnum() and len(text) <= 80 and texts.count(text) == 1:
            assert name.startswith(text) or text.lower() == "item"


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_another_separator_than_commas_is_named(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text(mark.join(["id", "optical", "question"]) + "\n" + mark.join("abc") + "\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"separated by (tabs|';'|'\|'); separate them by commas"):
        read_manifest(path)


def test_empty_rows_of_a_spreadsheet_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    path.write_text("optical,question\na.tif,Q?\n,\n\n , \nb.tif,Q?\n", encoding="utf-8")
    plan = read_manifest(path)
    assert [question.id for scene in plan.scenes for question in scene.questions] == ["1", "2"]


def test_the_index_of_pandas_is_no_column(tmp_path: Path) -> None:
    frame = geopandas.pd.DataFrame({"optical": ["a.tif", "b.tif", "c.tif"], "question": "Q?"}, index=["x", "y", "z"])
    for number, one in enumerate((frame, frame.reset_index(drop=True)[[True, False, True]])):
        path = tmp_path / f"{number}.parquet"
        one.to_parquet(path)
        assert len(read_manifest(path).scenes) == len(one)


@pytest.mark.parametrize("name", ["places.geojson", "places.parquet"])
def test_an_empty_geometry_is_not_the_whole_scene(tmp_path: Path, name: str) -> None:
    frame = geopandas.GeoDataFrame(
        {"optical": ["a.tif", "b.tif"], "question": "Q?"}, geometry=[box(9, 53, 10, 54), Polygon()], crs=4326
    )
    path = tmp_path / name
    if name.endswith("parquet"):
        frame.to_parquet(path)
    else:
        frame.to_file(path)
    with pytest.raises(ManifestError, match="row 2, geometry: is empty; remove the row, or its geometry"):
        read_manifest(path)
