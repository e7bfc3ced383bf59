"""What a reasoning asks of the engine, and what it is given for it.

A reasoning is a generator: it yields one of these requests, is suspended, and goes on with the result. So Algorithm 1
is written once, as if it were alone, and the engine answers the requests of many reasonings together.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from torch import Tensor

if TYPE_CHECKING:
    from terrascope.model.encoding import EncodedScene

T = TypeVar("T")


class Output(NamedTuple):
    """What the language model makes of the last position that it was fed, or of every one.

    Attributes:
        logits: float32 `[V]` or `[n, V]`, of the token that follows.
        hidden: `[D]` or `[n, D]`, after the final norm.
    """

    logits: Tensor
    hidden: Tensor


@dataclass(frozen=True, eq=False)
class Prefill:
    """Begin a sequence with a prompt; answered with an `Output`.

    Attributes:
        embeddings: `[n, D]`.
        positions: int64 `[n]`, or `[axes, n]`; what follows counts on from their maximum.
        scene: whose images stand in the prompt; questions about it share the keys and values of what they begin with.
        shared_ids: ids of the tokens that all questions about the scene begin with, images included; none where
            nothing is shared.
    """

    embeddings: Tensor
    positions: Tensor
    scene: EncodedScene | None = None
    shared_ids: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Feed:
    """Append to the sequence; answered with an `Output`.

    Attributes:
        embeddings: `[n, D]`.
        every: answer with the output of each of them, not of the last.
        forget: so many positions at the end of the sequence are taken back first.
    """

    embeddings: Tensor
    every: bool = False
    forget: int = 0


@dataclass(frozen=True, eq=False)
class Ground:
    """Draw the mask that a [SEG] state `[D]` points at on a pair (from 0) of a scene.

    Answered with the mask, bool `[H, W]` on the CPU, and its confidence.
    """

    scene: EncodedScene
    pair: int
    state: Tensor


@dataclass(frozen=True)
class Pause:
    """Let others go on: asked between the parts of long work that is the reasoning's own. Answered with None.

    The others get as much time as the part took; alone, a reasoning goes on at once.
    """


Request = Prefill | Feed | Ground | Pause
Program = Generator[Request, Any, T]
"""A reasoning, or what is made of some: yields requests, is sent their results, and returns its own."""
