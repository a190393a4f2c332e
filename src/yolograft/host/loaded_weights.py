"""Pretrained weights that did not load: said as a warning, with the share of the tensors.

Ultralytics loads the tensors whose names and shapes fit and logs their number. A file of another architecture therefore
trains from random weights.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from yolograft import attach
from yolograft.language import tr
from yolograft.sites import rows

__all__ = ["weights_text"]

_FEW = 0.5  # below this share of the tensors, weights count as not loaded although rows were moved or replaced on purpose
_SHOWN = 3


def weights_text(network: nn.Module, weights: object, name: object, *, moved: bool = False) -> str:
    """Return a warning if tensors of the host outside its last row were not loaded from weights, or "".

    The last row is the head. Its class layers have other shapes for another number of classes, which is expected.

    Args:
        network: the network, grafted or not.
        weights: the model that the weights were loaded from. Anything else gives "".
        name: the file of the weights.
        moved: whether the rows differ on purpose, as with a swap or with new rows. Then only a small share is a reason.
    """
    if not isinstance(weights, nn.Module):
        return ""
    target, source = network.state_dict(), weights.state_dict()
    blocks = tuple(f"{prefix}." for prefix in attach.grafts(network))
    host = [key for key in target if not (blocks and key.startswith(blocks))]
    loaded = {key for key in host if key in source and source[key].shape == target[key].shape}
    if not loaded:
        return tr("none of the {total} tensors of the host was loaded from {name}: it is another architecture. The training "
                  "starts from random weights.", total=len(host), name=name)
    head = f"model.{len(rows(network)) - 1}."
    body = [key for key in host if not key.startswith(head)]
    missing = [key for key in body if key not in loaded]
    if not missing or (moved and len(missing) < _FEW * len(body)):
        return ""
    places = list(dict.fromkeys(_row(key) for key in missing))
    return tr("{missing} of the {total} tensors of backbone and neck ({percent:.0f}%) were not loaded from {name} and start "
              "random: {places}.", missing=len(missing), total=len(body), percent=100 * len(missing) / len(body), name=name,
              places=_list(places))


def _row(key: str) -> str:
    return ".".join(key.split(".")[:2])


def _list(places: Iterable[str]) -> str:
    found = list(places)
    more = tr(" and {count} more", count=len(found) - _SHOWN) if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
