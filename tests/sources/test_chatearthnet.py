"""ChatEarthNet: a tree of its layout with known colours, codes and captions."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.errors import NotGeoreferencedWarning

from terrascope.errors import SceneError
from terrascope.landcover import SATLAS, TERRASCOPE, UNLABELLED
from terrascope.sources.chatearthnet import ChatEarthNet
from terrascope.sources.chips import ChipError

SIDE = 256
LISBON, MONTEVIDEO = "3886_3141", "2815_4942"

# (0, 0, 0), then the colours of SatlasPretrain in the order of its codes 1 to 11, and what each is here.
COLORS = (
    "000000", "0000FF", "FF0000", "00C000", "C8AA78", "00FF00", "FFFF00", "808080", "FFFFFF", "00FFFF", "FF00FF",
    "800080",
)  # fmt: skip
NAMES = (
    None, "water", "developed area", "tree", "shrub", "grass", "crop", "bare land", "snow", "wetland", "wetland",
    "bare land",
)  # fmt: skip
IDS = [UNLABELLED if name is None else TERRASCOPE.id_of(name) for name in NAMES]


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def codes_of(rows: int, columns: int) -> np.ndarray:
    """Codes 0 to 11 in stripes down the picture."""
    return np.tile((np.arange(rows) // (rows // 12 + 1)).astype(np.uint8)[:, None], (1, columns))


def colored(codes: np.ndarray) -> np.ndarray:
    return np.array([list(bytes.fromhex(color)) for color in COLORS], np.uint8)[codes]


def write_captions(root: Path, name: str, records: list[Any]) -> None:
    (root / "json_files").mkdir(exist_ok=True)
    (root / "json_files" / f"ChatEarthNet_caps_{name}.json").write_text(json.dumps(records))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate((f"{LISBON}_patch00", f"{LISBON}_patch01", f"{MONTEVIDEO}_patch10", "field")):
        picture = np.full((SIDE, SIDE, 3), (10 * number, 20, 30), np.uint8)
        picture[0, 0] = 200
        save(tmp_path / "s2_rgb_images" / "s2_images" / f"{name}.png", picture)
        for folder, base in (("s2_band_5_6_7_images", 50), ("s2_band_8_11_12_images", 80)):
            save(tmp_path / folder / f"{name}.png", np.full((SIDE, SIDE, 3), (base, base + 1, base + 2), np.uint8))
        save(tmp_path / "land_cover" / f"{name}.png", colored(codes_of(SIDE, SIDE)))
    write_captions(
        tmp_path,
        "35_train",
        [
            {"image": f"{LISBON}_patch01.png", "caption": "A city. "},
            {"image_id": f"s2_images/{LISBON}_patch00.png", "caption": ["A coast.", " ", "Water and houses."]},
            {"image": "9_9_patch11.png", "caption": "Not on disk."},
        ],
    )
    write_captions(tmp_path, "35_val", [{"image": f"{MONTEVIDEO}_patch10.png", "caption": "A port."}])
    write_captions(tmp_path, "35_test", [{"image": "field.png", "caption": "A field."}])
    write_captions(tmp_path, "4v_train", [{"image": f"{LISBON}_patch00.png", "caption": "By another."}])
    return tmp_path


def test_chips_come_in_the_order_of_the_json_and_missing_pictures_are_counted(root: Path) -> None:
    index = ChatEarthNet(root).index("train")
    assert index.entries == ((f"{LISBON}_patch01", LISBON), (f"{LISBON}_patch00", LISBON))
    assert index.skipped == {"missing image": 1}
    assert ChatEarthNet(root).index("val").entries == ((f"{MONTEVIDEO}_patch10", MONTEVIDEO),)
    assert ChatEarthNet(root, captions="4v").index("train").entries == ((f"{LISBON}_patch00", LISBON),)


def test_captions_are_texts_or_lists_of_texts(root: Path) -> None:
    assert ChatEarthNet(root).read(f"{LISBON}_patch01").captions == ("A city.",)
    chip = ChatEarthNet(root).read(f"{LISBON}_patch00")
    assert chip.captions == ("A coast.", "Water and houses.") and (chip.place, chip.split) == (LISBON, "train")
    assert ChatEarthNet(root).read("field").split == "test"


def test_pictures_are_sentinel_2_and_may_have_nine_bands(root: Path) -> None:
    (image,) = ChatEarthNet(root).read(f"{LISBON}_patch01").scene.observations
    assert (image.sensor, image.bands) == ("sentinel-2-8bit", ("B04", "B03", "B02"))
    assert image.pixels[:, 5, 5].tolist() == [10, 20, 30] and image.pixels[:, 0, 0].tolist() == [200] * 3
    (image,) = ChatEarthNet(root, all_bands=True).read(f"{LISBON}_patch01").scene.observations
    assert image.bands == ("B04", "B03", "B02", "B05", "B06", "B07", "B08", "B11", "B12")
    assert image.pixels[:, 5, 5].tolist() == [10, 20, 30, 50, 51, 52, 80, 81, 82]


@pytest.mark.parametrize(
    ("key", "tile"), [(f"{LISBON}_patch01", (3886, 3141)), (f"{MONTEVIDEO}_patch10", (2815, 4942))]
)
def test_the_name_of_a_tile_tells_the_ground_size(root: Path, key: str, tile: tuple[int, int]) -> None:
    chip = ChatEarthNet(root).read(key)
    latitude = math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * (tile[1] + 0.5) / 8192))))
    assert chip.lonlat == pytest.approx(((tile[0] + 0.5) / 8192 * 360 - 180, latitude), abs=1e-9)
    at_equator = 2 * math.pi * 6_378_137 / 8192 / 512
    assert at_equator == pytest.approx(9.5546, abs=1e-4)
    assert chip.labelled.pixel_size is not None
    # The map is made on a sphere, the ground is an ellipsoid: its radii across and along the meridian.
    sine2, flat2 = math.sin(math.radians(latitude)) ** 2, 0.00669437999014
    radii = 1 / math.sqrt(1 - flat2 * sine2), (1 - flat2) / (1 - flat2 * sine2) ** 1.5
    expected = at_equator * math.cos(math.radians(latitude)) * math.sqrt(math.prod(radii))
    np.testing.assert_allclose(chip.labelled.pixel_size.width_m, expected, rtol=1e-5)
    assert not chip.scene.georeference.is_located


def test_another_name_or_another_size_tells_no_scale(root: Path) -> None:
    chip = ChatEarthNet(root).read("field")
    assert chip.labelled.pixel_size is None and chip.lonlat is None and chip.place == "field"
    half = f"{MONTEVIDEO}_patch10"
    for folder in ("s2_rgb_images/s2_images", "land_cover"):
        path = root / folder / f"{half}.png"
        Image.open(path).resize((128, 128), Image.Resampling.NEAREST).save(path)
    assert ChatEarthNet(root).read(half).labelled.pixel_size is None


def test_colours_become_classes(root: Path) -> None:
    (label,) = ChatEarthNet(root).read(f"{LISBON}_patch00").labels
    np.testing.assert_array_equal(label.ids, np.array(IDS, np.uint8)[codes_of(SIDE, SIDE)])
    assert label.nomenclature is TERRASCOPE
    assert label.class_ids_known == tuple(sorted({TERRASCOPE.id_of(name) for name in NAMES if name}))
    (own,) = ChatEarthNet(root, nomenclature="satlas").read(f"{LISBON}_patch00").labels
    expected = np.where(codes_of(SIDE, SIDE) == 0, UNLABELLED, codes_of(SIDE, SIDE) - 1)
    np.testing.assert_array_equal(own.ids, expected)
    assert own.nomenclature is SATLAS and own.class_ids_known == tuple(range(11))


@pytest.mark.parametrize("file", [f"{LISBON}/land_cover.png", f"{LISBON}.png"])
@pytest.mark.parametrize("grey", [True, False])
def test_a_picture_of_the_whole_tile_is_cut_rows_first(root: Path, file: str, grey: bool) -> None:
    codes = np.zeros((512, 512), np.uint8)
    codes[:256, 256:], codes[256:, :256], codes[256:, 256:] = 1, 2, 3
    save(root / "land_cover" / file, codes if grey else colored(codes))
    for patch, expected in (("00", UNLABELLED), ("01", TERRASCOPE.id_of("water"))):
        (root / "land_cover" / f"{LISBON}_patch{patch}.png").unlink()
        (label,) = ChatEarthNet(root).read(f"{LISBON}_patch{patch}").labels
        assert (label.ids == expected).all() and label.ids.shape == (SIDE, SIDE)


def test_placeholders_are_refused_with_a_reason(root: Path) -> None:
    for value in (0, 255):
        save(root / "s2_rgb_images" / "s2_images" / "field.png", np.full((SIDE, SIDE, 3), value, np.uint8))
        with pytest.raises(ChipError, match="a placeholder") as caught:
            ChatEarthNet(root).read("field")
        assert caught.value.reason == "placeholder image"


def test_sar_comes_as_decibels_or_as_a_picture_where_there_is_some(root: Path) -> None:
    key = f"{LISBON}_patch00"
    save(root / "s1_images" / "vv" / f"{key}.png", np.full((SIDE, SIDE), 77, np.uint8))
    (pair,) = ChatEarthNet(root).read(key).scene.pairs
    assert pair.sar is not None and pair.sar.sensor == "sar-8bit" and (pair.sar.pixels == 77).all()
    path = root / "s1_images" / f"{key}.tif"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", count=2, height=SIDE, width=SIDE, dtype="float32") as target:
            target.write(np.stack([np.full((SIDE, SIDE), level, np.float32) for level in (-11.25, -18.5)]))
    chip = ChatEarthNet(root).read(key)
    (pair,) = chip.scene.pairs
    assert pair.sar is not None and pair.optical is not None
    assert (pair.sar.sensor, pair.sar.bands) == ("sentinel-1", ("VV", "VH"))
    assert (pair.sar.band("VV") == -11.25).all() and (pair.sar.band("VH") == -18.5).all()
    assert pair.sar.georeference == pair.optical.georeference
    assert ChatEarthNet(root).read(f"{LISBON}_patch01").scene.pairs[0].sar is None


def test_what_is_missing_is_said(root: Path) -> None:
    with pytest.raises(SceneError, match=r"land: no such folder; .* land_cover=, or give none"):
        ChatEarthNet(root, land_cover="land").index("train")
    unlabelled = ChatEarthNet(root, land_cover="")
    assert len(unlabelled.index("train").entries) == 2 and unlabelled.read("field").labels == ()
    with pytest.raises(SceneError, match=r"ChatEarthNet_caps_4v_val\.json: not found; .* json_files="):
        ChatEarthNet(root, captions="4v").index("val")
    with pytest.raises(SceneError, match=r"s2: no such folder; name the one that holds the pictures with images="):
        ChatEarthNet(root, images="s2").index("train")
    with pytest.raises(SceneError, match=r"captions '5' is not known; choose one of 3\.5, 4v"):
        ChatEarthNet(root, captions="5")


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.full((SIDE, SIDE, 3), (0, 0, 254), np.uint8), "unknown class code"),
        (np.full((SIDE, SIDE), 12, np.uint8), "unknown class code"),
        (np.zeros((SIDE, SIDE - 1, 3), np.uint8), "label of another size"),
        (None, "missing label"),
        (b"no picture", "unreadable label"),
    ],
)
def test_labels_that_cannot_be_used_have_a_reason(root: Path, pixels: Any, reason: str) -> None:
    path = root / "land_cover" / "field.png"
    path.unlink()
    if isinstance(pixels, bytes):
        path.write_bytes(pixels)
    elif pixels is not None:
        save(path, pixels)
    with pytest.raises(ChipError, match=r"land_cover.field\.png: ") as caught:
        ChatEarthNet(root).read("field")
    assert caught.value.reason == reason


def test_a_json_file_of_another_form_is_named(root: Path) -> None:
    for content in ("[", "[1]", '[{"image": "a.png"}]'):
        write_captions(root, "35_val", [])
        (root / "json_files" / "ChatEarthNet_caps_35_val.json").write_text(content)
        with pytest.raises(SceneError, match=r"caps_35_val\.json: not a list of image"):
            ChatEarthNet(root).index("val")
