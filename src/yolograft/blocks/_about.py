"""The data that the table of blocks shows for each block. Our blocks have it as `about`; a user's block need not."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["About"]


@dataclass(frozen=True, kw_only=True)
class About:
    """Where a block was published and when people use it.

    Attributes:
        paper: a short reference, such as `Hu et al., CVPR 2018, arXiv:1709.01507`.
        year: the year of the first publication.
        kind: what the attention weights differ over: `channel`, `spatial`, `mixed`, or `global` (each position uses the
            features of all positions).
        use: one line on when people use the block.
    """

    paper: str
    year: int
    kind: str
    use: str
