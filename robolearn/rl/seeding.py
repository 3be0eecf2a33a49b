"""Random numbers: one seed for everything, and the states that a checkpoint needs."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int) -> None:
    """Seed the global random numbers of Python, NumPy and torch (all devices)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third-party code still draws from the global state
    torch.manual_seed(seed)


def random_state(generator: torch.Generator | None = None) -> dict[str, Any]:
    """Return the global random states of Python, NumPy and torch, and that of ``generator``."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "generator": None if generator is None else generator.get_state(),
    }


def set_random_state(state: Mapping[str, Any], generator: torch.Generator | None = None) -> None:
    """Continue from ``random_state()``."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
    if generator is not None and state["generator"] is not None:
        saved = state["generator"].cpu()
        if saved.numel() == generator.get_state().numel():  # CPU and CUDA generators differ in kind
            generator.set_state(saved)
