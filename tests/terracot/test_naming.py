"""Which classes a text names."""

from __future__ import annotations

import pytest

from terrascope.landcover import TERRASCOPE
from terrascope.terracot.naming import named_classes


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Next, the crops:", ("crop",)),
        ("The Forest lies beside water bodies, and the forest is old.", ("tree", "water")),
        ("Three destroyed buildings stand among other buildings.", ("destroyed building", "building")),
        ("The flood water has come.", ("flood",)),
        ("The underwater street", ()),
        ("", ()),
    ],
)
def test_classes_are_found_by_any_word(text: str, names: tuple[str, ...]) -> None:
    assert named_classes(text, TERRASCOPE) == names
