"""A reply as a line: what comes back, and what is none."""

from __future__ import annotations

import json
from typing import Any

import pytest

from terrascope.bench.replies import Reply
from terrascope.errors import SampleError
from terrascope.sample import SampleMask

REPLY = Reply(
    id="a/1",
    text="B",
    raw="So B\u2028.",
    masks=(SampleMask(counts="PP`0", image=1, class_name="water"),),
    seconds=1.5,
    cut_off=True,
)


def test_a_reply_comes_back_from_its_line() -> None:
    assert "\n" not in REPLY.to_line() and Reply.from_line(REPLY.to_line()) == REPLY
    failed = Reply(id="a/2", text="", raw="", failed="timed out")
    assert Reply.from_line(failed.to_line()) == failed


def test_a_line_of_an_earlier_version_does_not_say_whether_it_was_cut_off() -> None:
    line = '{"id":"a","text":"B","raw":"<answer>B</answer>","masks":[],"seconds":0.1,"failed":null}'
    assert Reply.from_line(line) == Reply(id="a", text="B", raw="<answer>B</answer>", seconds=0.1)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("id", ["a"], 'id is \\["a"\\], and must be a text'),
        ("id", None, "id is null, and must be a text"),
        ("text", 5, "text is 5, and must be a text"),
        ("text", None, "text is null"),
        ("raw", {}, "raw is {}"),
        ("seconds", "a", 'seconds is "a", and must be a number from 0'),
        ("seconds", -1, "seconds is -1"),
        ("seconds", True, "seconds is true"),
        ("seconds", float("nan"), "seconds is NaN"),
        ("failed", 7, "failed is 7, and must be a text or null"),
        ("cut_off", 1, "cut_off is 1, and must be true or false"),
        ("masks", None, "masks is null, and must be a list of masks"),
        ("masks", [5], "masks is"),
        ("masks", [{"counts": 5, "image": 1, "class_name": "water"}], "masks is"),
        ("masks", [{"counts": "1", "image": "1", "class_name": "water"}], "masks is"),
        ("masks", [{"counts": "1", "image": 1}], "masks is"),
        ("other", 1, "'other' is none of id, text, raw"),
    ],
)
def test_a_field_of_another_kind_is_named(field: str, value: Any, sentence: str) -> None:
    values = {**json.loads(REPLY.to_line()), field: value}
    with pytest.raises(SampleError, match=f"not a reply of a run: {sentence}"):
        Reply.from_line(json.dumps(values))


@pytest.mark.parametrize("line", ["", "{", "5", "null", "[]", "[" * 100_000, '{"id":"a"}'])
def test_what_is_no_object_is_no_reply(line: str) -> None:
    with pytest.raises(SampleError, match="not a reply of a run"):
        Reply.from_line(line)
