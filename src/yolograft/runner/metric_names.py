"""The names under which a study stores Ultralytics' metrics."""

from __future__ import annotations

__all__ = ["metric_name"]


def metric_name(key: str, task: str) -> str:
    """Return a study's name of an Ultralytics metric. A box metric of a segment or pose task gets the prefix "box ".

    >>> metric_name("metrics/mAP50-95(B)", "detect"), metric_name("metrics/mAP50-95(B)", "segment")
    ('mAP50-95', 'box mAP50-95')
    """
    name = key.removeprefix("metrics/")
    if name == "accuracy_top1":
        return "accuracy"
    for suffix, is_main in (("(B)", task not in ("segment", "pose")), ("(M)", True), ("(P)", True)):
        if name.endswith(suffix):
            return name.removesuffix(suffix) if is_main else f"box {name.removesuffix(suffix)}"
    return name
