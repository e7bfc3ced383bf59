"""The offline composer as a writer: what it keeps is true, what it rejects is counted."""

from __future__ import annotations

import numpy as np

from terracot.drawn_chips import chip_of, drawn, paint
from terrascope.landcover import OTHER
from terrascope.tasks import TASKS
from terrascope.terracot.composer import Composer
from terrascope.terracot.verify import FAULTS, check
from terrascope.terracot.writer import Writer
from terrascope.trace import Tolerance


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_it_has_the_face_of_a_writer() -> None:
    writer: Writer = Composer()
    assert writer.name == "composer"


def test_everything_it_keeps_passes_and_nothing_is_rejected() -> None:
    writer = Composer()
    num = 0
    for seed, chip in enumerate(drawn(80)):
        caption = writer.caption(chip, rng(seed))
        deep = writer.compose(chip, caption.questions[0].truth, [], rng(seed))
        assert caption.rejected == deep.rejected == ()
        assert len(caption.questions) == 1 and len(deep.questions) in (2, 3)
        assert all(check(question, chip.labelled) == () for question in (*caption.questions, *deep.questions))
        assert {question.task.split("/")[0] for question in deep.questions} <= {"spatial", "semantic"}
        num += len(deep.questions)
    assert num >= 180


def test_the_same_chip_and_generator_give_the_same_words() -> None:
    for seed, chip in enumerate(drawn(8)):
        assert Composer().caption(chip, rng(seed)) == Composer().caption(chip, rng(seed))
        assert Composer().compose(chip, "", [], rng(seed)) == Composer().compose(chip, "", [], rng(seed))
        assert Composer().caption(chip, rng(seed)) != Composer().caption(chip, rng(seed + 100))


def test_what_fails_the_check_is_rejected_with_its_reason() -> None:
    """Without any tolerance, rounded numbers are faults."""
    exact = Composer(tolerance=Tolerance(coverage_points=0.0, relative=0.0))
    reasons: list[str] = []
    for seed, chip in enumerate(drawn(30)):
        for written in (exact.caption(chip, rng(seed)), exact.compose(chip, "", [], rng(seed))):
            reasons += written.rejected
            assert all(
                check(question, chip.labelled, tolerance=exact.tolerance) == () for question in written.questions
            )
    assert set(reasons) <= set(FAULTS) and len(reasons) >= 40


def test_a_chip_of_which_nothing_is_known_gives_nothing() -> None:
    chip = chip_of(np.full((100, 100), OTHER, np.uint8))
    assert Composer().caption(chip, rng(0)).questions == ()
    assert Composer().compose(chip, "", [], rng(0)).questions == ()


def test_it_builds_on_simple_questions() -> None:
    chip = chip_of(paint(("water", (0, 20, 0, 100)), ("crop", (60, 100, 0, 50)), background="tree"))
    pairs = [TASKS["coverage"].ask(chip.labelled, rng(seed), with_options=False) for seed in range(3)]
    written = Composer().compose(chip, "", [pair for pair in pairs if pair is not None], rng(0))
    assert len(written.questions) >= 2
