"""Of what population a study's verdicts speak: other seeds, other splits of the images, and which data sets."""

from __future__ import annotations

from yolograft.language import tr
from yolograft.study.plan import Plan

__all__ = ["population"]


def population(plan: Plan) -> str:
    """Return one sentence that names what the verdicts generalise to, and what they do not."""
    if plan.splits is not None:
        return tr("Population: other seeds and other splits of these images ({splits} splits into {train} and {val} images, "
                  "split_seed={seed}). The verdicts do not speak of images from another source.", splits=plan.splits.count,
                  train=plan.splits.train, val=plan.splits.val, seed=plan.splits.seed)
    if len(plan.datasets) > 1:
        return tr("Population: other seeds, on these {count} data sets with these splits. The verdicts do not speak of "
                  "other data sets, which would have to be a random sample.", count=len(plan.datasets))
    if plan.label:
        return tr("Population: other seeds, on {data} with this split. The verdicts on all data sets of the study share one "
                  "error rate.", data=plan.label)
    return tr("Population: other seeds, on this data set with this split. The verdicts do not speak of other splits or "
              "other data sets.")
