"""A model behind an endpoint as a predictor: what it is sent, what it says, and how it fails."""

from __future__ import annotations

import base64
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from endpoint import KEY, Scripted, fails, served
from terrascope.bench.endpoint import EndpointPredictor
from terrascope.bench.prompts import SEEN, make_turns
from terrascope.bench.run import run
from terrascope.bench.run_folder import read_run
from terrascope.bench.score import score
from terrascope.errors import EndpointError, ModelError, QuestionError
from terrascope.llm import NoReply, server
from tests.bench.made_benchmark import make_benchmark, make_scene

QUESTION, OPTIONS = "How much of the image is water?", ("5%", "20%")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, no waiting between tries, and no memory of other servers."""
    monkeypatch.setenv("TERRASCOPE_LLM_KEY", KEY)
    monkeypatch.setattr(server, "_acquaintances", {})
    monkeypatch.setattr(server, "sleep", lambda seconds: None)


def picture_in(part: dict[str, Any]) -> np.ndarray:
    _, _, data = part["image_url"]["url"].partition("base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_it_is_sent_the_papers_prompt_and_the_picture_and_no_form() -> None:
    with served([Scripted(text="B")]) as fake:
        answer = EndpointPredictor.at("some-model", fake.url).ask(make_scene(), QUESTION, options=OPTIONS)
    assert (answer.text, answer.option, answer.reasoning, answer.model) == ("B", "20%", "B", "some-model")
    (request,) = fake.asked
    assert (request["temperature"], "response_format" in request) == (0.0, False)
    (message,) = request["messages"]
    (turn,) = make_turns(make_scene(), QUESTION, OPTIONS)
    image, text = message["content"]
    assert (message["role"], text) == ("user", {"type": "text", "text": turn.text})
    np.testing.assert_array_equal(picture_in(image), turn.pictures[0])


def test_images_in_turns_of_their_own() -> None:
    with served([Scripted(text="A")]) as fake:
        EndpointPredictor.at("m", fake.url, several="one-by-one").ask(make_scene(2), QUESTION, options=OPTIONS)
    first, seen, last = fake.asked[0]["messages"]
    assert (
        [part["type"] for part in first["content"]]
        == [part["type"] for part in last["content"]]
        == ["image_url", "text"]
    )
    assert seen == {"role": "assistant", "content": SEEN}


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("The answer is (B).", "B"),
        ("<think>Water is dark. A fifth?</think><answer>B</answer>", "B"),
        ("The water: [SEG] So B.", "B"),
        ("A large lake.", None),
        ("", None),
    ],
)
def test_whatever_it_says_is_an_answer(said: str, letter: str | None) -> None:
    with served([Scripted(text=said)]) as fake:
        answer = EndpointPredictor.at("m", fake.url).ask(make_scene(), QUESTION, options=OPTIONS)
    assert (answer.text if answer.option else None) == letter
    assert answer.reasoning == said.replace("[SEG]", "[seg]") and answer.masks == ()


def test_a_run_against_an_endpoint_that_fails_half_way_goes_on_later(tmp_path: Path) -> None:
    replies = {"is_up": True}

    def act(request: dict[str, Any]) -> Scripted:
        number = int(request["messages"][0]["content"][-1]["text"].split("(")[1].split(")")[0])
        if number == 1:
            return fails(400, "flagged by the content_filter")
        return Scripted(text="B") if replies["is_up"] or number < 4 else fails(503)

    benchmark = make_benchmark(30)
    with served(act) as fake:
        replies["is_up"] = False
        predictor = EndpointPredictor.at("m", fake.url)
        with pytest.raises((EndpointError, ModelError), match="in a row"):
            run(benchmark, predictor, tmp_path, name="endpoint:m")
        replies["is_up"] = True
        report = run(benchmark, predictor, tmp_path, name="endpoint:m")
    assert report.failed == {"refused": 1} and report.num_chosen == 29
    assert [reply.id for reply in read_run(tmp_path)[1]] == [sample.id for sample in benchmark.samples]


def test_a_wrong_key_ends_a_run_before_anything_is_kept(tmp_path: Path) -> None:
    with served(lambda _: fails(401)) as fake, pytest.raises(EndpointError, match="does not accept the key") as caught:
        run(make_benchmark(3), EndpointPredictor.at("m", fake.url), tmp_path, name="endpoint:m")
    assert not isinstance(caught.value, NoReply) and read_run(tmp_path)[1] == ()
    assert KEY not in "".join(file.read_text() for file in tmp_path.iterdir())


def test_what_was_said_once_is_not_asked_again(tmp_path: Path) -> None:
    with served([Scripted(text="A"), Scripted(text="B")]) as fake:
        predictor = EndpointPredictor.at("m", fake.url, cache=tmp_path, log=tmp_path / "calls.jsonl")
        said = [predictor.ask(make_scene(), QUESTION, options=OPTIONS).text for _ in range(3)]
        other = predictor.ask(make_scene(2), QUESTION, options=OPTIONS).text
    assert (said, other, fake.num_asked) == (["A"] * 3, "B", 2)
    assert (tmp_path / "calls.jsonl").read_text().count("\n") == 4


def test_thoughts_that_were_cut_off_are_no_answer_and_are_counted(tmp_path: Path) -> None:
    with served([Scripted(text="<think>A or B hmm", finish="length"), Scripted(text="B", finish="length")]) as fake:
        report = run(make_benchmark(2), EndpointPredictor.at("m", fake.url), tmp_path, name="endpoint:m")
    kept = read_run(tmp_path)[1]
    assert [(reply.text, reply.cut_off, reply.failed) for reply in kept] == [
        ("<think>A or B hmm", True, None),
        ("B", True, None),
    ]
    found = score(make_benchmark(2).samples, kept)
    assert (found.num_cut_off, found.overall.together.unparsable) == (2, 0.5)
    assert (report.num_chosen, report.num_cut_off) == (1, 2) and "1 chose an option, 2 cut off, " in str(report)


def test_two_addresses_share_no_replies(tmp_path: Path) -> None:
    with served([Scripted(text="A")]) as first, served([Scripted(text="B")]) as second:
        said = [
            EndpointPredictor.at("m", url, cache=tmp_path).ask(make_scene(), QUESTION, options=OPTIONS).text
            for url in (first.url, second.url, f"{first.url}/", second.url)
        ]
    assert (said, first.num_asked, second.num_asked) == (["A", "B", "A", "B"], 1, 1)


def test_a_server_that_hangs_is_waited_for_as_long_as_was_said(tmp_path: Path) -> None:
    with served(lambda _: Scripted(text="B", slow_s=2.0)) as fake:
        predictor = EndpointPredictor.at("m", fake.url, timeout_s=0.1)
        started = time.monotonic()
        with pytest.raises(EndpointError, match="no reply in time"):
            predictor.ask(make_scene(), QUESTION, options=OPTIONS)
        assert time.monotonic() - started < 5 * 0.1 + 2.0


def test_it_makes_no_masks() -> None:
    with pytest.raises(QuestionError, match="makes no masks"):
        EndpointPredictor.at("m", "http://localhost:1/v1").segment(make_scene(), "water")
    with pytest.raises(QuestionError, match="choose one of images"):
        EndpointPredictor.at("m", "http://localhost:1/v1", several="film")
