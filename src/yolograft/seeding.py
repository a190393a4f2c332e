"""Derive seeds from names and numbers, and run code with seeded random generators."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["derive_seed", "seeded_rng"]


def derive_seed(*values: object) -> int:
    """Return a 63-bit seed, a hash of the values. It is the same on every machine, Python and PyTorch version."""
    text = "/".join(map(str, values))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@contextmanager
def seeded_rng(*values: object) -> Iterator[None]:
    """Seed Python's, NumPy's and PyTorch's CPU generators from the values; on exit, restore their states."""
    seed, torch_state = derive_seed(*values), torch.default_generator.get_state()
    python_state, numpy_state = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed the GPU generators
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.default_generator.set_state(torch_state)
