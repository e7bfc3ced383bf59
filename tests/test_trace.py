"""The trace grammar both ways, image indicators, the check of stated numbers, and the letter of an answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.trace import (
    SEG,
    Disagreement,
    Step,
    Tolerance,
    Trace,
    answer_letter,
    check_step,
    missing_images,
    parse,
    parse_image_indicator,
    render,
    resolve_images,
    stated_numbers,
)

LEADS = st.sampled_from(["The water:", "The bare land:", "Let me look at the flood.", "Next, the destroyed building:"])
FINDINGS = st.lists(
    st.sampled_from(["It covers 34% of the image.", "The area is 6.6 ha.", "There is none.", "There are 7 buildings."]),
    max_size=3,
).map(" ".join)
IMAGES = st.one_of(st.none(), st.integers(1, 12))
STEPS = st.builds(Step, text=LEADS, image=IMAGES, finding=FINDINGS)
CONCLUSIONS = st.sampled_from(["", "So the water is larger.", "So the crop is larger. So the answer is B."])
PREFACES = st.sampled_from([(), (Step(text="I look for the water first.", grounded=False),)])
TRACES = st.builds(
    lambda preface, steps, conclusion, answer: Trace(steps=(*preface, *steps), conclusion=conclusion, answer=answer),
    PREFACES,
    st.lists(STEPS, min_size=1, max_size=4),
    CONCLUSIONS,
    st.sampled_from(["", "B", "34%", "less than 1%", "northeastern part"]),
)
FRAGMENTS = [
    "<think>", "</think>", "<answer>", "</answer>", SEG, "[SEG", "<thi", "Image: 1", "Image: 2", " Image: 9", "Image:",
    "The water:", "It covers 34% of the image.", "There is none.", "So B.", "Therefore x", "4 m", "7 separate areas.",
    "They are", ".", "!", "a", "12", " ", "\n", "\x1c", "\u00a0", "٣",
]  # fmt: skip
EMISSIONS = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=4)), max_size=14).map("".join)


@given(TRACES)
def test_a_trace_reads_back_as_it_was_written(trace: Trace) -> None:
    assert parse(render(trace)) == trace


@settings(max_examples=500, deadline=None)
@given(EMISSIONS)
def test_whatever_a_model_emits_is_read(text: str) -> None:
    trace = parse(text)
    assert len(trace.grounded_steps) == text.count(SEG)
    assert parse(render(trace)) == trace
    assert all(image in (1, 2) for image in resolve_images(trace, 2))
    assert len(resolve_images(trace, 2)) == text.count(SEG)


def test_the_text_of_a_trace() -> None:
    trace = Trace(
        steps=(
            Step(text="The water:", image=1, finding="It covers 34% of the image."),
            Step(text="The flood:", image=2, finding="It covers 12% of the image."),
        ),
        conclusion="So the answer is B.",
        answer="B",
    )
    assert render(trace) == (
        "<think>The water: Image: 1 [SEG] It covers 34% of the image. "
        "The flood: Image: 2 [SEG] It covers 12% of the image. So the answer is B.</think><answer>B</answer>"
    )


def test_the_papers_example_is_read() -> None:
    trace = parse(
        "<think>\nTo answer this question, I need to measure the forest. Let me first segment the forest regions. "
        "[SEG]\n\nNow I can see the forest.\n- Coverage percentage = (3,450 / 10,000) × 100% = 34.5%\n\n"
        "Therefore, forest covers approximately 35% of the image.\n</think>\n<answer>35%</answer>"
    )
    preface, step = trace.steps
    assert (preface.text, preface.grounded) == ("To answer this question, I need to measure the forest.", False)
    assert step.text == "Let me first segment the forest regions."
    assert step.finding.startswith("Now I can see the forest.") and step.finding.endswith("34.5%")
    assert trace.conclusion == "Therefore, forest covers approximately 35% of the image."
    assert trace.answer == "35%"
    assert check_step(step, coverage=0.345, area_m2=None, num_objects=1) == ()


@pytest.mark.parametrize(
    ("text", "num_steps", "conclusion", "answer"),
    [
        ("", 0, "", ""),
        ("34%", 0, "", "34%"),
        ("<think>The water: [SEG]", 1, "", ""),
        ("[SEG]", 1, "", ""),
        ("<think>[SEG][SEG] It covers 3% of the image.</think><answer>3%</answer>", 2, "", "3%"),
        ("<think>So it is B.</think>B", 0, "So it is B.", "B"),
        ("<think>x</think><answer>B</answer><answer>C</answer>", 1, "", "B"),
        ("<think>x</think><answer>B<answer>C</answer>", 1, "", "B"),
        ("before <think>The water: [SEG]</think> between <answer>A</answer> after", 1, "", "A"),
        ("<answer>A [SEG]</answer><think>The crop: [SEG]</think>", 2, "", "A"),
    ],
)
def test_broken_text(text: str, num_steps: int, conclusion: str, answer: str) -> None:
    trace = parse(text)
    assert (len(trace.steps), trace.conclusion, trace.answer) == (num_steps, conclusion, answer)


def test_findings_and_leads_are_told_apart() -> None:
    trace = parse(
        "<think>The a: [SEG] It covers 3% of the image. It is small. Then the b: Image: 2 [SEG] It is.</think>"
    )
    first, second = trace.steps
    assert first.finding == "It covers 3% of the image. It is small."
    assert (second.text, second.image, second.finding) == ("Then the b:", 2, "It is.")


def test_a_full_sentence_with_a_number_stays_with_its_mask() -> None:
    first, second = parse("<think>The a: [SEG] It covers 3% of the image. [SEG]</think>").steps
    assert (first.finding, second.text) == ("It covers 3% of the image.", "")


def test_only_the_first_step_may_be_text_only() -> None:
    with pytest.raises(ValueError, match="only the first step"):
        Trace(steps=(Step(text="a:"), Step(text="b.", grounded=False)))


def test_image_indicators() -> None:
    assert parse_image_indicator("The water:") is None
    assert parse_image_indicator("Image: 1 [SEG] Some. The flood: Image: 2 ") == 2
    assert parse_image_indicator("Image: 1 [SEG] The flood: Image: 9 ", 2) == 1
    assert parse_image_indicator("Image: 0 ", 2) is None


def test_a_seg_without_an_indicator_means_the_last_image_named() -> None:
    trace = parse("<think>a: [SEG] b: Image: 2 [SEG] c: [SEG] d: Image: 9 [SEG] e: Image: 1 [SEG]</think>")
    assert resolve_images(trace, 2) == (1, 2, 2, 2, 1)
    assert missing_images(trace, 2) == (9,)
    assert resolve_images(trace, 1) == (1, 1, 1, 1, 1)
    assert missing_images(trace, 1) == (2, 9)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It covers 34% of the image.", [(34, "%", "mask")]),
        ("It covers less than 1% of the image.", [(1, "%", "mask")]),
        ("It covers thirty, or 30 percent of the area.", [(30, "%", "mask")]),
        ("The area is 6.6 ha.", [(6.6, "ha", "mask")]),
        ("The area is 1,200 square meters, or 1200 m2.", [(1200, "m2", "mask"), (1200, "m2", "mask")]),
        ("The area is 15 km2.", [(15, "km2", "mask")]),
        ("They are 120 m apart, that is 0.12 km.", [(120, "m", "mask"), (0.12, "km", "mask")]),
        ("There are 7 separate areas.", [(7, "count", "mask")]),
        ("There are two small buildings.", [(2, "count", "mask")]),
        ("5 are destroyed.", [(5, "count", "mask")]),
        ("There is none.", [(0, "%", "mask")]),
        ("About 3,450 pixels.", [(3450, "px", "mask")]),
        ("One percent of the image is 6.6 ha.", [(1, "%", "image"), (6.6, "ha", "image")]),
        ("The whole image is 2560 m wide.", [(2560, "m", "image")]),
        ("So 42% of the buildings are destroyed.", [(42, "%", "other")]),
        ("It is image 2 of 3 from 2021.", []),
    ],
)
def test_stated_numbers(text: str, expected: list[tuple[float, str, str]]) -> None:
    assert [(number.value, number.unit, number.subject) for number in stated_numbers(text)] == expected


def disagree(finding: str, *, tolerance: Tolerance | None = None) -> tuple[Disagreement, ...]:
    """Checked against a mask of 20 %, 200 ha in 7 objects, 500 m from the one before."""
    step = Step(text="The water:", finding=finding)
    return check_step(step, coverage=0.2, area_m2=2e6, num_objects=7, distance_m=500, tolerance=tolerance)


@pytest.mark.parametrize(
    "finding",
    [
        "It covers 23% of the image.",
        "It covers 17% of the image.",
        "The area is 2 km2.",
        "The area is 229 ha.",  # three points of the image are 30 ha
        "They are 550 m apart.",
        "There are 7 buildings.",
        "One percent of the image is 6.6 ha.",
        "There are 99 pixels.",
    ],
)
def test_numbers_within_the_tolerance_agree(finding: str) -> None:
    assert disagree(finding) == ()


@pytest.mark.parametrize(
    ("finding", "sentence"),
    [
        ("It covers 24% of the image.", "The text says 24 %, but the mask shows 20 %."),
        ("The area is 231 ha.", "The text says 231 ha, but the mask shows 200 ha."),
        ("They are 551 m apart.", "The text says 551 m, but the masks show 500 m."),
        ("There are 8 buildings.", "The text says 8, but the mask shows 7."),
        ("There is none.", "The text says 0 %, but the mask shows 20 %."),
    ],
)
def test_numbers_beyond_the_tolerance_are_told(finding: str, sentence: str) -> None:
    assert [str(disagreement) for disagreement in disagree(finding)] == [sentence]


def test_the_tolerance_can_be_set() -> None:
    assert disagree("It covers 21% of the image.", tolerance=Tolerance(coverage_points=0.5, relative=0.01))
    assert not disagree("It covers 28% of the image.", tolerance=Tolerance(coverage_points=8))


def test_large_counts_may_be_ten_percent_off() -> None:
    def check(stated: int) -> int:
        finding = f"There are {stated} buildings."
        return len(check_step(Step(text="", finding=finding), coverage=0.1, area_m2=None, num_objects=20))

    assert [check(stated) for stated in (17, 18, 22, 23)] == [1, 0, 0, 1]


def test_what_is_not_measured_is_not_checked() -> None:
    step = Step(text="", finding="The area is 5 ha. They are 10 m apart.")
    assert check_step(step, coverage=0.5, area_m2=None, num_objects=1) == ()


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("B.", "B"),
        ("(B)", "B"),
        ("b) 12 %", "B"),
        ("b", "B"),
        ("B 12%", "B"),
        ("The answer is B", "B"),
        ("<think>B</think><answer>C</answer>", "C"),
        ("A", "A"),
        ("a", "A"),
        ("Option A is best", "A"),
        ("A is right", "A"),
        ("A river runs there", None),
        ("A river, so C", "C"),
        ("Deciduous", None),
        ("Barren land", None),
        ("12%", None),
        ("", None),
    ],
)
def test_the_letter_of_an_answer(answer: str, letter: str | None) -> None:
    assert answer_letter(answer, 4) == letter


def test_letters_beyond_the_options_do_not_count() -> None:
    assert answer_letter("D", 2) is None
    assert answer_letter("E.", 5) == "E"
