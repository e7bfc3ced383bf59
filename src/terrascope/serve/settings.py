"""What a server is told when it starts."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from terrascope.errors import ServeError

MB = 2**20

MAX_QUESTION = 4000
"""Characters of a question or of an option; a prompt is short, and every token of it costs each question."""

MIN_TOKEN = 16
"""Characters of a token; a shorter one is soon guessed."""


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """How a server listens, and what it takes at most.

    Attributes:
        host, port: where it listens.
        root: the folder below which requests may name files; None where they may name none.
        token: that requests must bear, of at least `MIN_TOKEN` characters; None where they need none.
        is_open: everybody may ask who reaches the server, by any name of it.
        max_upload_mb: of one request, all its files together.
        max_files: of one request.
        max_pixels: rows x columns of an image.
        max_queue: questions that wait. max_running: questions that are answered at once.
        in_turns: one thread drives all that are answered; False where the model is in other processes, for which a
            thread each waits.
        upload_timeout_s: how long a client may send nothing of its request, or take nothing of its reply.
        ask_timeout_s: how long the answer to one question may take, from when its turn comes.
        remember_scenes, remember_mb: scenes that later questions find again: how many, and the memory that they take.
        keep_answers, keep_mb: answers that can be fetched later: how many, and how much of the disk they take.
        drain_s: how long questions under way may go on when the server is told to stop.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    root: Path | None = None
    token: str | None = field(default=None, repr=False)
    is_open: bool = False
    max_upload_mb: int = 256
    max_files: int = 64
    max_pixels: int = 100_000_000
    max_queue: int = 32
    max_running: int = 16
    in_turns: bool = True
    upload_timeout_s: float = 30.0
    ask_timeout_s: float = 600.0
    remember_scenes: int = 4
    remember_mb: int = 512
    keep_answers: int = 64
    keep_mb: int = 2048
    drain_s: float = 30.0

    def __post_init__(self) -> None:
        """Raises ServeError: the root is no folder, or the token cannot stand in a header or is too short."""
        if self.root is not None and not self.root.is_dir():
            raise ServeError(f"{self.root}: is no folder; give the folder of the scenes with --root")
        if self.token is not None:
            is_plain = self.token.isascii() and self.token.isprintable() and self.token == self.token.strip()
            if not is_plain or len(self.token) < MIN_TOKEN:
                raise ServeError(
                    f"the token must be {MIN_TOKEN} or more printable ASCII characters without spaces around them, "
                    "such as those of: openssl rand -hex 32"
                )

    @property
    def max_upload_bytes(self) -> int:
        return self.max_upload_mb * MB

    @property
    def is_local(self) -> bool:
        """True if only programs of this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False
