"""What can go wrong with a request, and whether it ends the run, is worth another try, or is counted."""

from __future__ import annotations

from typing import Literal

from terrascope.errors import EndpointError

Reason = Literal[
    "timed out",
    "refused",
    "nonsense",
    "rate limited",
    "server error",
    "unreachable",
    "request rejected",
]
"""Why there is no reply, for counting. A bad key or an unknown model is no reason: it ends the run."""


class NoReply(EndpointError):
    """One request came to nothing, and the next may well succeed. `reason` says why, the same for every such request.

    Every other `EndpointError` would meet all requests alike, and ends the run.
    """

    def __init__(self, sentence: str, reason: Reason) -> None:
        super().__init__(sentence)
        self.reason: Reason = reason

    def __reduce__(self) -> tuple[type[NoReply], tuple[str, Reason]]:
        # Workers hand it to the process that counts.
        return type(self), (str(self), self.reason)


class Transient(Exception):
    """A request failed in a way that another try may mend; after `wait_s` seconds, where the server says so."""

    def __init__(self, sentence: str, reason: Reason, wait_s: float | None = None) -> None:
        super().__init__(sentence)
        self.reason: Reason = reason
        self.wait_s = wait_s


class Complaint(Exception):
    """The server does not take the request as it is worded; it may take a plainer one."""
