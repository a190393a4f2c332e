"""Class names of a model and of a data set that do not agree: the numbers of the labels then mean other classes.

Ultralytics compares the number of classes alone. It trains and validates a model whose classes have another order than those
of the data, and says nothing.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a validator has `names` (those of the model) and `data` (the dict of the
data set) when the callback `on_val_batch_start` runs, and `training`, which is false outside a training. A model without
names of its own has the numbers of its classes as names, and a data set without names has `class_0`, `class_1`, ...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from yolograft.host.log import warn
from yolograft.language import tr

__all__ = ["Difference", "compare_names", "names_text", "say_names"]

Difference = Literal["", "order", "other", "number"]
_SHOWN = 3

Names = Mapping[int, str] | Sequence[str] | None


def compare_names(model: Names, data: Names) -> Difference:
    """Return how the class names of a model differ from those of a data set.

    Returns:
        `order` (the same names, but not in the same order), `other` (names that the model does not have at that number),
        `number` (as `other`, and another number of classes), or "". Names that only say a number agree with every name. A
        data set with the first classes of the model agrees with it.
    """
    ours, theirs = _listed(model), _listed(data)
    if not _differing(ours, theirs):
        return ""
    if sorted(ours.values()) == sorted(theirs.values()):
        return "order"
    return "other" if len(ours) == len(theirs) else "number"


def _listed(names: Names) -> dict[int, str]:
    found = dict(names) if isinstance(names, Mapping) else dict(enumerate(names or ()))
    found = {int(index): str(name).strip() for index, name in found.items()}
    is_numbered = all(name in (str(index), f"class_{index}", f"class{index}") for index, name in found.items())
    return {} if is_numbered else found


def _differing(ours: Mapping[int, str], theirs: Mapping[int, str]) -> list[int]:
    return [index for index, name in theirs.items() if ours.get(index) != name] if ours else []


def names_text(model: Names, data: Names, *, trains: bool) -> str:
    """Return the warning on class names that do not agree, or "".

    Args:
        model: the names of the model: number -> name, or a list.
        data: those of the data set.
        trains: whether the model is trained on the data, so that only its start is affected. Then another number of classes
            or other classes are no reason for a warning: the class layers of the head are trained anew.
    """
    kind = compare_names(model, data)
    if not kind or (trains and kind in ("other", "number")):
        return ""
    ours, theirs = _listed(model), _listed(data)
    examples = "; ".join(tr("class {index} is '{ours}' in the model and '{theirs}' in the data", index=index,
                            ours=ours.get(index, "-"), theirs=theirs[index]) for index in _differing(ours, theirs)[:_SHOWN])
    if trains:
        return tr("the model and the data have the same classes in another order ({examples}). The head starts with the "
                  "weights of the wrong classes, and the new checkpoint has the order of the data.", examples=examples)
    what = {"order": tr("the same classes in another order"), "other": tr("other classes"),
            "number": tr("other classes, and another number of them")}[kind]
    return tr("the model and the data have {what} ({examples}). The metrics of this validation are wrong. Use the `names` "
              "that the model was trained with.", what=what, examples=examples)


def say_names(validator: Any) -> None:
    """Callback of `on_val_batch_start`: warn once in a validation outside a training if the class names do not agree."""
    if validator.training or getattr(validator, "has_compared_names", False):
        return
    validator.has_compared_names = True
    data = getattr(validator, "data", None)
    if isinstance(data, dict) and not validator.args.single_cls and \
            (text := names_text(getattr(validator, "names", None), data.get("names"), trains=False)):
        warn(text)
