"""Random numbers of the benchmark: a stream for each purpose and episode, the same in every simulator."""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, episode: int, purpose: str) -> np.random.Generator:
    """Return the random numbers of one purpose (``script``, ``push``, ...) in one episode of a seed.

    Streams are independent of each other. So what one purpose draws changes neither with what others draw nor with the
    number of episodes, and runs that share seed and episode (an experiment) are paired.
    """
    return np.random.default_rng((seed, episode, zlib.crc32(purpose.encode())))
