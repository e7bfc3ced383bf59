"""An answer as labelled arrays and as a table of outlines, for those who go on in Python."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from terrascope import __version__
from terrascope.answer_files import name_masks
from terrascope.answer_json import describe_step
from terrascope.errors import OutputError
from terrascope.georeference import Georeference
from terrascope.rasters.named_mask import printable
from terrascope.rasters.vectors import write_masks_parquet

if TYPE_CHECKING:
    import geopandas
    import xarray

    from terrascope.answer import Answer

_COORDINATES: dict[str, tuple[str, dict[str, str]]] = {
    "name": ("str", {"long_name": "what the step says, short"}),
    "text": ("str", {"long_name": "words that lead to the mask"}),
    "finding": ("str", {"long_name": "what the reasoning says after it has seen the mask"}),
    "image": ("int64", {"long_name": "number of the image that the mask lies on, from 1"}),
    "date": ("datetime64[ns]", {"long_name": "day of that image"}),
    "num_pixels": ("int64", {"long_name": "measured pixels in the mask"}),
    "coverage": ("float64", {"long_name": "share of the measured pixels", "units": "1"}),
    "area_m2": ("float64", {"long_name": "area on the ground", "units": "m2"}),
    "num_objects": ("int64", {"long_name": "objects in the mask"}),
    "position": ("str", {"long_name": "part of the scene"}),
    "distance_to_previous_step_m": ("float64", {"long_name": "smallest distance to the mask before", "units": "m"}),
    "confidence": ("float64", {"long_name": "how decided the mask is", "units": "1"}),
    "num_optical_tokens": ("int64", {"long_name": "optical tokens that the reasoning looked at"}),
    "num_sar_tokens": ("int64", {"long_name": "SAR tokens that the reasoning looked at"}),
    "agrees": ("bool", {"long_name": "whether no stated number contradicts the mask"}),
    "disagreements": ("str", {"long_name": "stated numbers that the mask contradicts"}),
}
"""Coordinates along `step`: type and attributes. What is unknown is NaN, NaT or an empty text."""

_OUTLINE_COLUMNS: dict[str, str] = {
    "name": "str", "step": "int64", "text": "str", "finding": "str", "image": "int64", "date": "object",
    "num_pixels": "int64", "coverage_percent": "float64", "area_m2": "float64", "scale_basis": "str",
    "num_objects": "int64", "position": "str", "distance_to_previous_step_m": "float64", "confidence": "float64",
    "num_tokens": "int64", "num_optical_tokens": "int64", "num_sar_tokens": "int64", "agrees": "bool",
    "disagreements": "str", "coverage": "float64", "outline_block_px": "int64",
}  # fmt: skip
"""Columns of `masks.parquet` beside the outlines, for a table without a row."""


def to_xarray(answer: Answer) -> xarray.Dataset:
    """The masks as a Dataset of two variables bool `(step, y, x)`: `mask` and `valid`, True where it was measured.

    Coordinates along `step` say what is known of each mask, with units; `x` and `y` are pixel centres in the scene's
    CRS, which `spatial_ref` holds after CF and GDAL (read by rioxarray and odc-geo). On a grid that is rotated, or that
    lies nowhere, `x` and `y` are pixel coordinates: 0.5 is the centre of the first column or row.

    Raises:
        OutputError: xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise _missing("xarray") from None

    height, width = answer.scene.shape
    georeference = answer.scene.georeference
    masks = name_masks(answer)
    dims = ("step", "y", "x")
    inside, valid = np.zeros((2, len(masks), height, width), bool)
    for n, mask in enumerate(masks):
        inside[n], valid[n] = mask.inside, mask.valid
    coordinates: dict[str, Any] = {
        "step": ("step", np.arange(1, len(masks) + 1), {"long_name": "step of the reasoning"}),
        **_centres(georeference, height, width),
    }
    rows = [
        {
            **describe_step(n, step, answer.scene),
            "name": mask.name,
            "coverage": step.measurement.coverage,
            "disagreements": " ".join(str(disagreement) for disagreement in step.disagreements),
        }
        for n, (step, mask) in enumerate(zip(answer.steps, masks, strict=True), 1)
    ]
    for name, (kind, attributes) in _COORDINATES.items():
        coordinates[name] = ("step", _column(kind, [row[name] for row in rows]), attributes)
    if georeference.is_located:
        coordinates["spatial_ref"] = ((), np.int64(0), _grid_mapping(georeference))
    dataset = xarray.Dataset(
        {
            "mask": (dims, inside, {"long_name": "where the step points"}),
            "valid": (dims, valid, {"long_name": "where the image was measured"}),
        },
        coordinates,
        _attributes(answer),
    )
    if georeference.is_located:
        for variable in dataset.data_vars.values():
            variable.encoding["grid_mapping"] = "spatial_ref"
    return dataset


def to_geodataframe(answer: Answer) -> geopandas.GeoDataFrame:
    """The outlines of the masks in the scene's own CRS, one row per step: what `masks.parquet` holds.

    Without a CRS the coordinates are pixels, and a column `note` says so. An empty mask has no geometry.

    Raises:
        OutputError: geopandas is not installed.
    """
    try:
        import geopandas
    except ImportError:
        raise _missing("geopandas") from None

    georeference = answer.scene.georeference
    masks = name_masks(answer)
    if not masks:
        columns = {name: np.empty(0, kind) for name, kind in _OUTLINE_COLUMNS.items()}
        return geopandas.GeoDataFrame(
            columns, geometry=geopandas.GeoSeries([]), crs=georeference.crs if georeference.is_located else None
        )
    with tempfile.TemporaryDirectory(prefix="terrascope-") as folder:
        path = Path(folder) / "masks.parquet"
        write_masks_parquet(path, masks, georeference)
        return geopandas.read_parquet(path)


def _missing(package: str) -> OutputError:
    return OutputError(f"this needs the package {package}; install it with: pip install 'terrascope-eo[notebook]'")


def _column(kind: str, values: list[Any]) -> NDArray[Any]:
    if kind == "str":
        # Lone surrogates, which names of files may hold, are no text to any file format.
        return np.array([printable(value or "") for value in values], np.str_)
    if kind == "datetime64[ns]":
        return np.array([np.datetime64(value or "NaT", "ns") for value in values], kind)
    return np.array([np.nan if value is None else value for value in values], kind)


def _centres(georeference: Georeference, height: int, width: int) -> dict[str, Any]:
    columns, rows = np.arange(width) + 0.5, np.arange(height) + 0.5
    transform = georeference.transform
    if georeference.crs is None or transform is None or transform.b or transform.d:
        about = {"units": "1"}
        return {
            "y": ("y", rows, {"long_name": "row, from the upper edge of the grid", **about}),
            "x": ("x", columns, {"long_name": "column, from the left edge of the grid", **about}),
        }
    axes = {axis["axis"]: axis for axis in georeference.crs.cs_to_cf() if "axis" in axis}
    return {
        "y": ("y", transform.f + transform.e * rows, axes.get("Y", {})),
        "x": ("x", transform.c + transform.a * columns, axes.get("X", {})),
    }


def _grid_mapping(georeference: Georeference) -> dict[str, Any]:
    """The attributes by which CF and GDAL tell of a CRS and a transform."""
    assert georeference.crs is not None and georeference.transform is not None
    a, b, c, d, e, f = tuple(georeference.transform)[:6]
    told = georeference.crs.to_cf()
    order_of_gdal = (c, a, b, f, d, e)
    return {
        **told,
        "spatial_ref": told["crs_wkt"],
        "GeoTransform": " ".join(repr(float(number)) for number in order_of_gdal),
    }


def _attributes(answer: Answer) -> dict[str, Any]:
    always = {
        "Conventions": "CF-1.8",
        "question": answer.question,
        "answer": answer.text,
        "reasoning": answer.reasoning,
        "model": answer.model,
        "terrascope_version": __version__,
    }
    if_any = {
        "options": "; ".join(answer.options),
        "answer_option": answer.option,
        "measured": answer.measured,
        "notes": " ".join(answer.notes),
        "gsd_m": answer.scene.georeference.gsd_m,
    }
    told = always | {name: value for name, value in if_any.items() if value}
    return {name: printable(value) if isinstance(value, str) else value for name, value in told.items()}
