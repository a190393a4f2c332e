"""Seeds derived from names and numbers, and a context that runs code under such a seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["derive_seed", "seeded_rng"]


def derive_seed(*what: object) -> int:
    """Return a 63-bit seed, a hash of the values given; the same on every machine, Python and PyTorch version."""
    text = "/".join(map(str, what))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@contextmanager
def seeded_rng(*what: object) -> Iterator[None]:
    """Seed Python's, NumPy's and PyTorch's CPU generators from the values given; restore their states on leaving."""
    number, torch_state = derive_seed(*what), torch.default_generator.get_state()
    states = random.getstate(), np.random.get_state()
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.default_generator.manual_seed(number)  # torch.manual_seed would also seed the GPU's
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(torch_state)
