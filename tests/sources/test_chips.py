"""What all sources share."""

from __future__ import annotations

import pickle

from terrascope.sources.chips import ChipError


def test_an_error_keeps_its_reason_on_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(ChipError("a.tif: not a raster", reason="unreadable image")))
    assert isinstance(error, ChipError) and str(error) == "a.tif: not a raster" and error.reason == "unreadable image"
