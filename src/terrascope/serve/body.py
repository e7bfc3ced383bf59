"""The body of a request as it arrives, bounded in bytes and patience."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from starlette.requests import Request

from terrascope.serve.refusals import Refusal
from terrascope.serve.settings import MB, ServeSettings

_SLOWEST_BYTES_PER_S = 16 * 1024
"""What a client must send on average, since it holds a place meanwhile."""


async def body_of(request: Request, max_bytes: int, settings: ServeSettings) -> AsyncIterator[bytes]:
    """The body of a request as it arrives.

    Raises:
        Refusal: it is larger than `max_bytes`, nothing arrives for too long, or it trickles.
        ClientDisconnect: the client went away.
    """
    too_large = Refusal(
        413, "too_large", f"the request is larger than {max_bytes // MB:,} MB; give a part of the scene, or a path"
    )
    told = request.headers.get("content-length", "")
    if told and (not told.isdecimal() or int(told) > max_bytes):
        raise too_large
    num_bytes, stream, began = 0, request.stream(), time.monotonic()
    try:
        while True:
            try:
                chunk = await asyncio.wait_for(anext(stream), settings.upload_timeout_s)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise Refusal(
                    408,
                    "slow_client",
                    f"nothing arrived for {settings.upload_timeout_s:g} seconds; send the request again",
                    headers={"Connection": "close"},
                ) from None
            num_bytes += len(chunk)
            if num_bytes > max_bytes:
                raise too_large
            patience_s = settings.upload_timeout_s + num_bytes / _SLOWEST_BYTES_PER_S
            if time.monotonic() - began > patience_s:
                raise Refusal(
                    408,
                    "slow_client",
                    f"the request arrives slower than {_SLOWEST_BYTES_PER_S // 1024} kB a second; send less, or a path",
                    headers={"Connection": "close"},
                )
            yield chunk
    finally:
        await stream.aclose()
