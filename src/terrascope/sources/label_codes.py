"""Class codes of label rasters as class ids; a code that nobody knows is the chip's error."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from terrascope.landcover import Nomenclature, translate, unknown_codes
from terrascope.sources.chips import ChipError

_NUM_NAMED = 5


def find_class_ids(
    codes: NDArray[np.integer],
    mapping: Mapping[int, str],
    nomenclature: Nomenclature,
    *,
    ignored: Collection[int] = (),
    source: str,
) -> NDArray[np.uint8]:
    """Class ids uint8 `[H, W]` of class codes; codes to ignore become UNLABELLED.

    Args:
        source: name of the label map, for messages.

    Raises:
        ChipError: a code is neither in the mapping nor among those to ignore.
    """
    unknown = unknown_codes(codes, mapping, ignored)
    if unknown:
        named = ", ".join(f"{code} ({count} pixels)" for code, count in list(unknown.items())[:_NUM_NAMED])
        more = f" and {len(unknown) - _NUM_NAMED} more" if len(unknown) > _NUM_NAMED else ""
        raise ChipError(
            f"{source}: class codes {named}{more} are not of {nomenclature.name}; give the label map of this data set",
            reason="unknown class code",
        )
    return translate(codes, mapping, nomenclature)
