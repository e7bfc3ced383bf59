"""The page in a browser: a server with a predictor of known geometry, and visits that notice what should not happen."""

from __future__ import annotations

import base64
import json
import shutil
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from terrascope.answer import Answer
from terrascope.events import Drew, Event, Wrote
from terrascope.question import check_question
from terrascope.scene import Scene
from terrascope.serve.app import create_app
from terrascope.serve.listening import address_of, listen, server_of
from terrascope.serve.settings import ServeSettings
from terrascope.trace import SEG
from tests.oracle import ground

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass
class Teller:
    """Tells of the blue and the green pixels of the last image, word by word; waits after the first mask if held."""

    stated_percent: float = 10.0
    name: str = "teller"
    asked: list[tuple[Scene, str, tuple[str, ...]]] = field(default_factory=list)
    may_go_on: threading.Event = field(default_factory=threading.Event)
    was_closed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_go_on.set()

    def stream(self, scene: Scene, question: str, *, options: Sequence[str] = ()) -> Iterator[Event | Answer]:
        question, texts = check_question(scene, question, options)
        self.asked.append((scene, question, texts))
        last = len(scene.pairs)
        pixels = scene.pairs[-1].observations[0].pixels
        groundings = [ground(pixels[2] > 150, image=last), ground(pixels[1] > 140, image=last)]
        said = "B" if texts else f"{self.stated_percent:g}%"
        words = (
            f"<think>The water: {SEG} It covers {self.stated_percent:g}% of the image. "
            f"The trees: {SEG} They cover 12.5% of the image. So that is it.</think><answer>{said}</answer>"
        ).split(" ")
        try:
            masks = iter(groundings)
            for number, word in enumerate(words, 1):
                yield Wrote(" ".join(words[:number]))
                if SEG in word:
                    yield Drew(next(masks))
                    while not self.may_go_on.wait(0.01):
                        yield Wrote(" ".join(words[:number]))
            yield Answer.from_reasoning(
                scene=scene,
                question=question,
                options=texts,
                reasoning=" ".join(words),
                groundings=groundings,
                model=self.name,
            )
        except GeneratorExit:
            self.was_closed.set()
            raise


@contextmanager
def serving(predictor: Any, **settings: Any) -> Iterator[str]:
    """The address of a server of its own for as long as the block lasts."""
    how = ServeSettings(port=0, **settings)
    app = create_app(predictor, how)
    taken = listen(how)
    server = server_of(app, how)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.01)
        yield address_of(taken)
    finally:
        server.should_exit = True
        thread.join(20)


@contextmanager
def browsing() -> Iterator[Any]:
    """A browser of this machine; the test is skipped where there is none."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"no browser was found; install one of {', '.join(BROWSERS)}")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One tab with the page, and what it noticed.

    Attributes:
        errors: what the console and uncaught exceptions said. hosts: where the page went.
    """

    def __init__(self, browser: Any, address: str, **context: Any) -> None:
        self.address = address
        context = {"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **context}
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.hosts.add(request.url.partition("://")[2].partition("/")[0]))
        self.page.set_default_timeout(20_000)
        self.page.goto(address)

    def _hear(self, said: Any) -> None:
        # That a canvas is read out is the tests' own doing.
        if said.type in ("error", "warning") and "willReadFrequently" not in said.text:
            self.errors.append(said.text)

    def ask(self, question: str = "How much of the image is water?") -> None:
        """Ask, and wait for the answer."""
        self.page.fill("#question", question)
        self.page.press("#question", "Enter")
        self.page.locator("#state", has_text="Answered").wait_for()

    def text(self, selector: str) -> str:
        """The visible text of one element."""
        return str(self.page.locator(selector).inner_text())

    def texts(self, selector: str) -> list[str]:
        return [str(text).strip() for text in self.page.locator(selector).all_inner_texts()]

    def canvas(self) -> np.ndarray:
        """uint8 `[H, W, 3]`: what the canvas shows, in its own pixels."""
        width, height, values = self.page.locator("#canvas").evaluate(
            "async (c) => { await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));"
            " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            " return [c.width, c.height, btoa(Array.from(d, (v) => String.fromCharCode(v)).join(''))]; }"
        )
        return np.frombuffer(base64.b64decode(values), np.uint8).reshape(height, width, 4)[:, :, :3].astype(int)

    def close(self) -> None:
        self.context.close()


Open = Callable[..., Visit]


def fetch(address: str) -> Any:
    with urllib.request.urlopen(address) as response:
        return json.load(response)
