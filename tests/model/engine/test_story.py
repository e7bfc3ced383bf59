"""What a reasoning tells while it runs: once, in order, whatever happens to it meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from terrascope.errors import QuestionError
from terrascope.model.engine.passes import Piece
from terrascope.model.engine.requests import Program
from terrascope.model.engine.story import Story
from tests.model.conftest import Loaded
from tests.model.engine.made_programs import alone, chain, out_of_memory, same, watched


@pytest.fixture(scope="module")
def model(exact: Loaded) -> Any:
    return exact[0]


def telling(model: Any, seed: int, num: int, heard: list[int]) -> Callable[[Callable[[str], None]], Program[Any]]:
    """A program that tells of every number from 0 to `num` + 1; `heard` gets what it tells, again where it restarts."""

    def begin(tell: Callable[[str], None]) -> Program[Any]:
        def do(number: int) -> None:
            heard.append(number)
            tell(f"{seed}.{number}")

        return chain(model, seed, num, do=do)

    return begin


def test_events_come_as_they_happen_and_in_order(model: Any) -> None:
    engine, _ = watched(model)
    story, heard = Story[str](), list[int]()
    ticket = engine.submit(story.told_by(telling(model, 3, 4, heard)))
    told = []
    for event in story.follow(engine, ticket):
        told.append(event)
        # A step begins a reasoning and feeds its prompt: two events at most happen before one is told.
        assert len(heard) <= len(told) + 1
    assert told == [f"3.{number}" for number in range(6)]
    assert same(ticket.result(), alone(model, partial(chain, model, 3)))


@pytest.mark.parametrize("restarts_at", [1, 2, 4])
def test_what_begins_again_tells_nothing_twice(model: Any, restarts_at: int) -> None:
    engine, language = watched(model)

    def run_out(pieces: Sequence[Piece]) -> None:
        if len(pieces) > 1 and len(language.fed) > restarts_at:
            raise out_of_memory()

    language.before_feed = run_out
    other, other_heard = Story[str](), list[int]()
    story, heard = Story[str](), list[int]()
    first = engine.submit(other.told_by(telling(model, 1, 6, other_heard)))
    second = engine.submit(story.told_by(telling(model, 2, 6, heard)))
    told = list(story.follow(engine, second))
    assert told == [f"2.{number}" for number in range(8)]
    assert heard == [*range(restarts_at + 1), *range(8)], "it did begin again"
    assert list(other.follow(engine, first)) == [f"1.{number}" for number in range(8)]
    assert other_heard == [*range(8)]
    for ticket, seed in ((first, 1), (second, 2)):
        assert same(ticket.result(), alone(model, partial(chain, model, seed, 6)))


def test_two_stories_are_told_side_by_side(model: Any) -> None:
    engine, _ = watched(model)
    stories = [Story[str](), Story[str]()]
    tickets = [
        engine.submit(story.told_by(telling(model, seed, 3 * seed + 1, []))) for seed, story in enumerate(stories)
    ]
    told = [story.follow(engine, ticket) for story, ticket in zip(stories, tickets, strict=True)]
    assert [next(told[0]), next(told[1]), next(told[1]), next(told[0])] == ["0.0", "1.0", "1.1", "0.1"]
    assert list(told[0]) == ["0.2"] and list(told[1]) == ["1.2", "1.3", "1.4", "1.5"]


def test_who_stops_listening_cancels_it_and_nothing_else(model: Any) -> None:
    engine, language = watched(model)
    story = Story[str]()
    other = engine.submit(partial(chain, model, 5))
    ticket = engine.submit(story.told_by(telling(model, 2, 6, [])))
    events = story.follow(engine, ticket)
    assert [next(events), next(events)] == ["2.0", "2.1"]
    assert len(language.open_slots) == 2
    events.close()  # type: ignore[attr-defined]
    assert ticket.is_done and ticket.is_cancelled and len(language.open_slots) == 1
    assert same(engine.wait_for(other), alone(model, partial(chain, model, 5)))


def test_one_that_fails_has_told_what_came_before(model: Any) -> None:
    engine, _ = watched(model)
    story = Story[str]()

    def begin(tell: Callable[[str], None]) -> Program[Any]:
        def do(number: int) -> None:
            if number == 3:
                raise QuestionError("no further")
            tell(str(number))

        return chain(model, 1, do=do)

    ticket = engine.submit(story.told_by(begin))
    assert list(story.follow(engine, ticket)) == ["0", "1", "2"]
    with pytest.raises(QuestionError, match="no further"):
        ticket.result()


def test_one_that_another_has_ended_is_told_to_its_end(model: Any) -> None:
    engine, _ = watched(model)
    story = Story[str]()
    ticket = engine.submit(story.told_by(telling(model, 1, 3, [])))
    engine.wait_for(ticket)
    assert list(story.follow(engine, ticket)) == [f"1.{number}" for number in range(5)]
