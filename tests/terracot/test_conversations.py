"""Reasoning without [SEG] reads well, whatever its grammar was."""

from __future__ import annotations

import pytest

from terrascope.terracot.without_masks import answer_alone, think_without_masks


@pytest.mark.parametrize(
    ("grounded", "expected"),
    [
        ("The water: [SEG] It covers 34% of the image.", "The water: it covers 34% of the image."),
        ("The water: Image: 2 [SEG] There is none.", "The water in image 2: there is none."),
        ("The water: [SEG] Lake Baikal is 600 km long.", "The water: Lake Baikal is 600 km long."),
        ("The water: [SEG] The tree: [SEG] They touch.", "Look at the water. The tree: they touch."),
        ("The water: [SEG] So the answer is B.", "Look at the water. So the answer is B."),
        ("It is wet. The rest: [SEG]\nSo it is B.", "It is wet. Look at the rest. So it is B."),
        ("First, I observe forest. [SEG] covers 40%.", "First, I observe forest. This region covers 40%."),
        ("I see two. Image: 2 [SEG] lies north.", "I see two. In image 2, this region lies north."),
        ("Image: 2 [SEG] It is wet.", "In image 2, it is wet."),
        ("[SEG] covers 40%.", "This region covers 40%."),
        ("Next, I notice water [SEG], which is blue.", "Next, I notice water, which is blue."),
        ("Water [SEG] and trees [SEG] dominate.", "Water and trees dominate."),
        ("The water ([SEG]) borders crops ([SEG]).", "The water borders crops."),
        (
            "Let me segment it. Image: 1 [SEG]\nNow I see it.",
            "Let me segment it in image 1. Now I see it.",
        ),
        ("I segment the water [SEG] It covers 3%.", "I segment the water. It covers 3%."),
        ("I segment the water [SEG]", "I segment the water."),
        ("In Image: 2 there is more. So A.", "In Image: 2 there is more. So A."),
        ("There is no mask.", "There is no mask."),
        ("", ""),
    ],
)
def test_sentences_stay_sentences(grounded: str, expected: str) -> None:
    told = think_without_masks(f"<think>{grounded}</think><answer>B</answer>")
    assert told == f"<think>{expected}</think><answer>B</answer>"


@pytest.mark.parametrize(
    ("reasoning", "answer"),
    [
        ("<think>x [SEG]</think><answer>76 ha</answer>", "76 ha"),
        ("<think>x</think><answer>water [SEG]</answer>", "water"),
        ("<think>x</think><answer><p>lake</p> <REGION></answer>", "lake"),
        ("<think>x", ""),
        ("Yes", "Yes"),
    ],
)
def test_the_answer_alone_has_no_token(reasoning: str, answer: str) -> None:
    assert answer_alone(reasoning) == answer
