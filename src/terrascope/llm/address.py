"""Where requests go, with the key, which nothing prints or keeps."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from terrascope.errors import EndpointError

KEY_VARIABLES = ("TERRASCOPE_LLM_KEY", "OPENAI_API_KEY")
"""Environment variables that may hold the key; the first that does is taken."""

_NO_KEY = "none"
_SECRET = 12
"""Characters from which on a key is one that a server gave out."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """A model on a server, with the key and the patience to ask it. It lives for a request and is never stored."""

    base_url: str
    model: str
    timeout_s: float
    max_tries: int
    key: str = field(repr=False)

    def without_key(self, said: bytes) -> bytes:
        """What a server said, without the key. A short one, of a server of one's own, would be found in any words."""
        return said.replace(self.key.encode(), b"***") if len(self.key) >= _SECRET else said

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("an address holds a key and is not written anywhere")


def read_key() -> str:
    """The key from the environment; a placeholder where there is none, as servers of one's own need none.

    Raises:
        EndpointError: it holds what no header can.
    """
    for variable in KEY_VARIABLES:
        key = os.environ.get(variable, "").strip()
        if key:
            if not re.fullmatch(r"[\x21-\x7e]+", key):
                raise EndpointError(f"the environment variable {variable} holds no key: a key is one word of ASCII")
            return key
    return _NO_KEY
