from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from terrascope.serve.bell import Bell, call_in


def test_all_that_are_roused_together_are_woken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        loop, bell = asyncio.get_running_loop(), Bell()
        listeners = [asyncio.Event() for _ in range(50)]
        calls: list[Any] = []
        soon = loop.call_soon_threadsafe

        def counted(*given: Any) -> Any:
            calls.append(given)
            return soon(*given)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)

        def rouse_all() -> None:
            for listener in listeners:
                bell.rouse(listener, loop)

        for num_calls in (1, 2):
            # The loop does not look while it waits for this thread.
            thread = threading.Thread(target=rouse_all)
            thread.start()
            thread.join()
            assert len(calls) == num_calls and not any(listener.is_set() for listener in listeners)
            await asyncio.sleep(0)
            assert all(listener.is_set() for listener in listeners)
            for listener in listeners:
                listener.clear()

    asyncio.run(test())


def test_nothing_is_called_in_a_loop_that_was_closed() -> None:
    loop, called = asyncio.new_event_loop(), list[int]()
    call_in(loop, called.append, 1)
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    call_in(loop, called.append, 2)
    assert called == [1]
