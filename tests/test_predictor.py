"""What every predictor is asked."""

from __future__ import annotations

import pytest

from terrascope.errors import QuestionError
from terrascope.predictor import check_text


def test_a_text_that_asks_for_no_mask_is_refused() -> None:
    check_text("The lake: [SEG]")
    with pytest.raises(QuestionError, match=r"^the text has no \[SEG\]: write one wherever a mask is wanted$"):
        check_text("The lake: SEG <REGION>")
