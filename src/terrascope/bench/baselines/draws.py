"""Chance of baselines: it depends on the seed and on what is asked, not on what was asked before."""

from __future__ import annotations

import hashlib

import numpy as np


def rng_about(seed: int, about: str) -> np.random.Generator:
    """The chance of one question, which `about` tells from others; the same in every run and on every machine."""
    digest = hashlib.sha256(f"{seed}\n{about}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))
