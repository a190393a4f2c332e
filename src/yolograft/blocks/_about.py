"""What the table of blocks says of a block. Ours carry it as `about`; a user's block need not."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["About"]


@dataclass(frozen=True, kw_only=True)
class About:
    """Where a block comes from and when people use it.

    Attributes:
        paper: its short reference, such as `Hu et al., CVPR 2018, arXiv:1709.01507`.
        year: of the first publication.
        kind: what the weights range over: `channel`, `spatial`, `mixed`, or `global` (positions see each
            other).
        use: one line on when people use it.
    """

    paper: str
    year: int
    kind: str
    use: str
