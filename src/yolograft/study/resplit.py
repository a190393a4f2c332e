"""The key `splits` of a plan: reading it, and checking that the rest of the plan can be combined with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from yolograft.errors import SpecError
from yolograft.language import tr
from yolograft.study.arms import read_value
from yolograft.study.splits import Splits

__all__ = ["check_splits", "measured", "read_splits"]


def read_splits(count: Any, seed: Any, sizes: Any = None) -> Splits | None:
    """Return the splits that a plan asks for, or None.

    Args:
        count: the value of `splits`.
        seed: the value of `split_seed`.
        sizes: numbers of images for training and validation, if the plan was recorded.

    Raises:
        SpecError: a value is wrong.
    """
    count, seed = (read_value(one) if isinstance(one, str) else one for one in (count, seed))
    if count is None:
        if seed is not None:
            raise SpecError(tr("split_seed={seed} is the seed of the splits: it needs splits=, such as splits=5.",
                               seed=seed))
        return None
    if type(count) is not int or count < 3:  # with two, one number would be the whole estimate of the spread
        raise SpecError(tr("splits={value} must be a whole number of at least 3, such as splits=5.", value=count))
    seed = 0 if seed is None else seed
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise SpecError(tr("split_seed={value} must be a whole number, such as split_seed=0.", value=seed))
    train, val = sizes or (0, 0)
    return Splits(count=count, seed=seed, train=train, val=val)


def check_splits(splits: Splits, seeds: Sequence[int], *, looks: Sequence[int], race: bool,
                 settings: Mapping[str, Any]) -> None:
    """Raise `SpecError` if a plan combines its splits with something that has no valid test."""
    if looks:
        raise SpecError(tr("splits={splits} has one look, after the last seed: the corrected t-test of splits has no error "
                           "rate over several looks. Leave out looks={looks}, or splits.", splits=splits.count,
                           looks=",".join(map(str, looks))))
    if race:
        raise SpecError(tr("race=True cannot be combined with splits={splits}: its rule to stop an arm is that of the "
                           "sign-flip test. Leave out race, or splits.", splits=splits.count))
    if len(seeds) % splits.count:
        raise SpecError(tr("splits={splits} needs equally many seeds on each split, and the study has {seeds}. Use for "
                           "example seeds={splits} or seeds={twice}.", splits=splits.count, seeds=len(seeds),
                           twice=2 * splits.count))
    if settings.get("fraction") not in (None, 1, 1.0):
        raise SpecError(tr("fraction={fraction} cannot be combined with splits={splits}: Ultralytics takes the first images "
                           "by name, so the classes of a split would no longer be balanced. Make a smaller data set.",
                           fraction=settings["fraction"], splits=splits.count))


def measured(splits: Splits | None, host: Any, settings: Mapping[str, Any]) -> Splits | None:
    """Return the splits with the numbers of images that the host finds.

    Raises:
        GraftError: the host cannot split the data set.
    """
    if splits is None:
        return None
    sizes = getattr(host, "split_sizes", None)
    if sizes is None:
        raise SpecError(tr("splits={splits}: this host cannot split a data set.", splits=splits.count))
    train, val = sizes(settings)
    return replace(splits, train=train, val=val)
