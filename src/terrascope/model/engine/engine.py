"""Continuous batching: reasonings join and leave while others go on, and each step serves all of them at once.

In a step the engine takes one request of every reasoning: what they feed goes through the language model in one pass,
and the masks that they ask for through the mask decoder in one. Then each goes on until its next request.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar, cast

import torch

from terrascope.model.drawing import ground_all
from terrascope.model.engine.own_pass import OwnPass, understands
from terrascope.model.engine.passes import LanguagePass, LibraryPass, Piece
from terrascope.model.engine.prefixes import Prefixes
from terrascope.model.engine.requests import Feed, Ground, Output, Pause, Prefill, Program
from terrascope.model.engine.ticket import Ticket
from terrascope.model.memory import is_out_of_memory
from terrascope.model.modeling import TerraScopeForConditionalGeneration

T = TypeVar("T")

MAX_ROWS = 16
"""Reasonings that run at once, unless the engine is told otherwise."""

MAX_TOKENS = 8192
"""Tokens that go through the language model in one pass: beyond some thousands a pass gets no faster, only larger."""


class Engine:
    """Runs reasonings on one model.

    Threads may share an engine: whoever waits for a result drives the reasonings of all.

    Args:
        model: in eval mode.
        max_rows: reasonings that run at once; the others wait in order.
        language: the pass to use; by default the fastest that computes what the model is.
        tell: called with a sentence where memory ran out and fewer reasonings run at once from then on.
        make_room: called where memory ran out; lets go of what can be made anew, for good, and says if there was any.
    """

    def __init__(
        self,
        model: TerraScopeForConditionalGeneration,
        *,
        max_rows: int = MAX_ROWS,
        language: LanguagePass | None = None,
        tell: Callable[[str], None] | None = None,
        make_room: Callable[[], bool] | None = None,
    ) -> None:
        self.model, self.max_rows, self.tell, self.make_room = model, max_rows, tell, make_room
        self._given = language
        self._language: LanguagePass | None = language
        self._waiting: deque[Ticket[Any]] = deque()
        self._running: list[Ticket[Any]] = []
        self._prefixes = Prefixes()
        self._lock = threading.RLock()

    def submit(self, begin: Callable[[], Program[T]]) -> Ticket[T]:
        """Hand in a reasoning; `begin` makes it, and makes it anew where it has to start again."""
        ticket = Ticket(begin)
        with self._lock:
            self._waiting.append(ticket)
        return ticket

    def run(self, begin: Callable[[], Program[T]]) -> T:
        """Run a reasoning, with whatever else is under way, and wait for its result.

        Raises:
            TerraScopeError: it fails.
        """
        return self.wait_for(self.submit(begin))

    def wait_for(self, ticket: Ticket[T]) -> T:
        """Drive the engine until a reasoning has ended.

        Raises:
            ModelError: it was cancelled.
            TerraScopeError: it failed.
        """
        try:
            while not ticket.is_done:
                self.step()
        except BaseException:
            # Such as a key that was pressed: nothing of it goes on behind the caller's back.
            self.cancel(ticket)
            raise
        return ticket.result()

    @torch.inference_mode()
    def cancel(self, ticket: Ticket[Any]) -> None:
        """End a reasoning now; one that has ended keeps its result."""
        if not ticket.is_done:
            ticket.cancel()
            with self._lock:
                self._drop_cancelled()

    def run_all(self, begins: Iterable[Callable[[], Program[T]]]) -> Iterator[Ticket[T]]:
        """The tickets of many reasonings as they end, in the order in which they were handed in.

        As many are taken from `begins` as can run at once, and one more whenever one has ended.
        """
        source, held = iter(begins), deque[Ticket[T]]()
        try:
            while True:
                while held and held[0].is_done:
                    yield held.popleft()
                while sum(not ticket.is_done for ticket in held) < self.max_rows:
                    begin = next(source, None)
                    if begin is None:
                        break
                    held.append(self.submit(begin))
                if not held:
                    return
                self.step()
        finally:
            for ticket in held:
                self.cancel(ticket)

    @torch.inference_mode()
    def step(self) -> bool:
        """Serve one request of every reasoning under way; False if there is none."""
        with self._lock:
            try:
                self._drop_cancelled()
                self._check_language()
                while self._waiting and len(self._running) < self.max_rows:
                    self._start(self._waiting.popleft())
                if not self._running:
                    return False
                self._ground()
                self._feed()
                self._end_pauses()
            except BaseException:
                # Such as a key that was pressed: some may have been served and others not.
                self._restart(self._running)
                raise
            return True

    # -----------------------------------------------------------------------------------------------------------------
    # The two passes of a step.

    def _ground(self) -> None:
        asking = [ticket for ticket in self._running if isinstance(ticket.request, Ground)]
        self._serve(asking, lambda some: ground_all(self.model, [cast("Ground", ticket.request) for ticket in some]))

    def _feed(self) -> None:
        asking: list[Ticket[Any]] = []
        begun: set[tuple[int, tuple[int, ...]]] = set()
        for ticket in self._running:
            request = ticket.request
            if isinstance(request, Prefill) and request.shared_ids:
                what = (id(request.scene), request.shared_ids)
                # The first of several questions about a scene goes ahead; the others begin with what it leaves.
                if what in begun and self._prefixes.find(request) is None:
                    continue
                begun.add(what)
            if isinstance(request, Prefill | Feed):
                asking.append(ticket)
        for some in list(_grouped(asking)):
            self._serve(some, self._feed_all)

    def _end_pauses(self) -> None:
        resting = [ticket for ticket in self._running if isinstance(ticket.request, Pause)]
        if len(resting) == len(self._running):
            # Nobody has use for the time: the one that has waited longest goes on.
            ready = sorted(resting, key=lambda ticket: ticket.rests_until)[:1]
        else:
            now = time.monotonic()
            ready = [ticket for ticket in resting if ticket.rests_until <= now]
        for ticket in ready:
            self._go_on(ticket, None)

    def _feed_all(self, tickets: Sequence[Ticket[Any]]) -> list[Output]:
        language = self._current_language()
        outputs = language.feed([self._piece(ticket) for ticket in tickets])
        for ticket in tickets:
            if isinstance(ticket.request, Prefill) and ticket.slot is not None:
                self._prefixes.keep(ticket.request, language, ticket.slot)
        return outputs

    def _serve(self, tickets: list[Ticket[Any]], answer: Callable[[Sequence[Ticket[Any]]], Sequence[Any]]) -> None:
        """Answer the requests of some reasonings together, and let each go on.

        What fails for all together is asked for one by one, so that each fails or succeeds for itself; where memory ran
        out, half of them start again later, and one alone once others have ended.
        """
        # Some may have been put back meanwhile.
        tickets = [ticket for ticket in tickets if ticket.program is not None]
        if not tickets:
            return
        results = None
        try:
            results = answer(tickets)
        except Exception as error:
            ran_out = is_out_of_memory(error)
            made_room = ran_out and self._made_room()
            if not made_room and len(tickets) == 1 and not (ran_out and len(self._running) > 1):
                self._end(tickets[0], error=error)
                return
        # Once the error is gone, and with it what the pass that failed had computed.
        if results is not None:
            for ticket, result in zip(tickets, results, strict=True):
                self._go_on(ticket, result)
        elif made_room:
            self._serve(tickets, answer)
        elif ran_out:
            num_left = (len(tickets) + 1) // 2 if len(tickets) > 1 else 0
            self._put_back(tickets[num_left:])
            self._serve(tickets[:num_left], answer)
        else:
            for ticket in tickets:
                self._serve([ticket], answer)

    def _piece(self, ticket: Ticket[Any]) -> Piece:
        request = ticket.request
        if isinstance(request, Feed):
            assert self._language is not None and ticket.slot is not None
            if request.forget:
                self._language.forget(ticket.slot, request.forget)
                # Once, also where the pass fails and is tried again.
                ticket.request = request = replace(request, forget=0)
            return Piece(ticket.slot, request.embeddings, every=request.every)
        assert isinstance(request, Prefill)
        language = self._current_language()
        if ticket.slot is not None:
            slot, ticket.slot = ticket.slot, None
            language.close(slot)
        slot = ticket.slot = language.open()
        prefix = self._prefixes.find(request)
        if prefix is not None:
            language.begin_with(slot, prefix)
        return Piece(slot, request.embeddings[slot.length :], request.positions[..., slot.length :])

    # -----------------------------------------------------------------------------------------------------------------
    # How reasonings begin, go on and end.

    def _current_language(self) -> LanguagePass:
        """The pass; made where there is none."""
        if self._language is None:
            self._language = OwnPass(self.model) if understands(self.model) else LibraryPass(self.model)
        return self._language

    def _check_language(self) -> None:
        """Let go of a pass that is not the model's any more: its weights have moved, or its modules are others."""
        language = self._language
        if language is None or self._given is not None:
            return
        if not isinstance(language, OwnPass):
            is_current = bool(self._running) or not understands(self.model)
        elif self._running:
            # At every step a glance: what moves a model moves all of it.
            is_current = not language.has_moved()
        else:
            is_current = understands(self.model) and language.is_current()
        if not is_current:
            self._restart(self._running)
            self._prefixes.clear()
            self._language = None

    def _start(self, ticket: Ticket[Any]) -> None:
        self._running.append(ticket)
        self._go_on(ticket, None)

    def _go_on(self, ticket: Ticket[Any], result: Any) -> None:
        """Let a reasoning begin, or go on with what it asked for, up to its next request or its end."""
        try:
            if ticket.program is None:
                ticket.program = ticket.begin()
            began = time.monotonic()
            ticket.request = ticket.program.send(result)
            if isinstance(ticket.request, Pause):
                ticket.rests_until = 2 * time.monotonic() - began
        except StopIteration as stop:
            self._end(ticket, result=stop.value)
        except Exception as error:
            if is_out_of_memory(error) and self._made_room():
                self._restart([ticket])
            elif is_out_of_memory(error) and len(self._running) > 1:
                self._put_back([ticket])
            else:
                self._end(ticket, error=error)

    def _end(self, ticket: Ticket[Any], *, result: Any = None, error: BaseException | None = None) -> None:
        self._leave(ticket)
        ticket.finish(result, error)

    def _leave(self, ticket: Ticket[Any]) -> None:
        self._running.remove(ticket)
        if ticket.program is not None:
            ticket.program.close()
        if ticket.slot is not None and self._language is not None:
            self._language.close(ticket.slot)
        ticket.program = ticket.request = ticket.slot = None

    def _drop_cancelled(self) -> None:
        for ticket in [ticket for ticket in self._running if ticket.is_cancelled]:
            self._end(ticket)
        for ticket in [ticket for ticket in self._waiting if ticket.is_cancelled]:
            self._waiting.remove(ticket)
            ticket.finish()

    def _restart(self, tickets: Sequence[Ticket[Any]]) -> None:
        """Let some reasonings begin anew, before those that wait."""
        for ticket in tuple(reversed(tickets)):
            self._leave(ticket)
            self._waiting.appendleft(ticket)

    def _made_room(self) -> bool:
        if self.make_room is None or not self.make_room():
            return False
        if self.tell is not None:
            self.tell("Memory ran out; from now on no scene stays encoded from one question to the next.")
        return True

    def _put_back(self, tickets: Sequence[Ticket[Any]]) -> None:
        """Let some reasonings start again once others have ended, and no more than are left run at once."""
        self._restart(tickets)
        self.max_rows = max(1, len(self._running))
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.tell is not None:
            self.tell(f"Memory ran out; from now on {self.max_rows} questions are answered at once.")


def _grouped(tickets: Sequence[Ticket[Any]]) -> Iterator[list[Ticket[Any]]]:
    """Those that are fed in one pass: as many as their tokens allow."""
    group: list[Ticket[Any]] = []
    num_tokens = 0
    for ticket in tickets:
        num = len(cast("Prefill | Feed", ticket.request).embeddings)
        if group and num_tokens + num > MAX_TOKENS:
            yield group
            group, num_tokens = [], 0
        group.append(ticket)
        num_tokens += num
    if group:
        yield group
