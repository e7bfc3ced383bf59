"""What a sender is told of an error: its own fields, not the options of the command line."""

from __future__ import annotations

import pytest

from terrascope.errors import QuestionError, ScaleError, SceneError, TerraScopeError
from terrascope.serve.refusals import refusal_of


@pytest.mark.parametrize(
    ("error", "message", "field"),
    [
        (
            ScaleError("a.tif: no scale; give --gsd METRES (of a pixel)"),
            "a.tif: no scale; give the field gsd (of a pixel)",
            "gsd",
        ),
        (
            SceneError("a.tif: give --sensor or --sar-sensor"),
            "a.tif: give the field sensor or the field sar_sensor",
            None,
        ),
        (
            QuestionError("an option given with --choice is empty"),
            "an option given with the field option is empty",
            "option",
        ),
        (
            SceneError("a.vrt: is a virtual raster; give --allow-virtual (allow_virtual=True) if you trust it"),
            "a.vrt: is a virtual raster; give a plain image file",
            None,
        ),
        (
            SceneError("a.msk is no TIFF; remove it, or give --allow-virtual (allow_virtual=True) if you trust it"),
            "a.msk is no TIFF; remove it",
            None,
        ),
        (
            SceneError("memory ran out; give --dtype bfloat16, another --device, or a smaller part with --bbox"),
            "memory ran out; give a smaller part with the field bbox",
            "bbox",
        ),
        (SceneError("a--b.tif: is empty"), "a--b.tif: is empty", None),
    ],
)
def test_it_names_the_fields_of_the_form(error: TerraScopeError, message: str, field: str | None) -> None:
    refusal = refusal_of(error)
    assert (refusal.message, refusal.field, refusal.status) == (message, field, 422)
