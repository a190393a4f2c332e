"""The text form of a study's arms: what is compared with what.

    arms       ITEM; ITEM; ...            "none; se@8; se@8 lr0=0.005; cbam@p3,p4,p5; aa"
    ITEM       GRAFT [key=value ...]      a graft (or `none`), with train arguments of its own
             | positions(BLOCK)           one arm for each row of backbone and neck
             | blocks(SITE)               every block at one site
             | ratios(BLOCK, SITE)        one block at one site with ratio 2, 4, 8, 16, 32
             | aa | params | gate1 | scale     a control; `params` and `gate1` belong to the graft before
                                               them, unless they name one: `params(GRAFT)`
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from yolograft.errors import GraftError, SpecError, nearest
from yolograft.spec import Graft, parse_value, split_outside
from yolograft.study.trial import Host

__all__ = ["CONTROLS", "Arm", "parse_arms", "read_value"]

CONTROLS = {
    "aa": "the baseline again, its initial weights moved by one part in a million: what no change looks like",
    "params": "a plain 1x1 convolution with about as many parameters, at the same sites",
    "gate1": "the block with its gates fixed at 1",
    "scale": "the bare host at the next scale (n to s): what the same effort buys elsewhere",
}
_HELPERS = ("positions", "blocks", "ratios")
_RATIOS = (2, 4, 8, 16, 32)
_SETTING = re.compile(r"[A-Za-z_]\w*=\S.*", re.DOTALL)
_CALL = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*(?:\((?P<inside>.*)\))?", re.DOTALL)
_SCALE = re.compile(r"(?P<family>yolo[a-z]*-?v?\d+)(?P<scale>[tnsml])(?=$|[-.])")
_NEXT = {"t": "s", "n": "s", "s": "m", "m": "l", "l": "x"}
_GRAMMAR = "Expected a graft with train arguments, as in 'se@8 lr0=0.005', or one of: " + ", ".join(
    [f"{name}(...)" for name in _HELPERS] + list(CONTROLS))


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One configuration in a study: a graft or the bare host, perhaps a control, and its train arguments."""

    name: str
    graft: str = "none"
    control: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def role(self) -> str:
        """Which control the arm is, `scale` among them, which is none to the trial; empty for what one might want itself."""
        word = re.split(r"[ (]", self.name)[0]
        return word if word in CONTROLS else ""

    @property
    def bare(self) -> bool:
        """Whether this is the bare host under the study's own settings: the natural baseline."""
        return self.graft == "none" and not self.control and not self.settings


def parse_arms(text: str | Sequence[str], host: Host | None, *, model: str) -> tuple[Arm, ...]:
    """Read the arms, with helpers expanded; refuses what is unknown, and two arms that would train the same.

    Without a host, which a study that is only looked at does not need, nothing is checked or expanded.

    >>> from yolograft.study import dummy
    >>> [arm.name for arm in parse_arms("none; se@8; se@8 lr0=0.005; aa", dummy, model="yolo11n.pt")]
    ['none', 'se@8', 'se@8 lr0=0.005', 'aa']

    Raises:
        SpecError: an item is none of the known forms.
        GraftError: two arms are the same, or the host does not know a block.
    """
    items = [item for one in ([text] if isinstance(text, str) else text) for item in split_outside(str(one), ";")]
    arms: list[Arm] = []
    for item in filter(None, map(str.strip, items)):
        arms += _expand(item, arms, host, model)
    if not arms:
        raise SpecError(f"The study has no arms. {_GRAMMAR}.")
    if host is not None:
        _refuse_duplicates(arms, host)
    return tuple(arms)


def read_value(text: str) -> Any:
    """Read a train argument's value: a number, a truth value, None, a list, or else the text as it is."""
    try:
        value = parse_value(text)
    except SpecError:  # a path, a device list such as 0,1, ...
        return text
    return list(value) if isinstance(value, tuple) else value


def _expand(item: str, before: Sequence[Arm], host: Host | None, model: str) -> list[Arm]:
    words = [word for word in split_outside(item, " ") if word.strip()]
    split = len(words)
    while split and _SETTING.fullmatch(words[split - 1]):
        split -= 1
    head = " ".join(words[:split])
    settings = {key: read_value(value) for key, _, value in (word.partition("=") for word in words[split:])}
    suffix = "".join(f" {word}" for word in words[split:])
    call = _CALL.fullmatch(head)
    if not head:
        head = "none"  # "lr0=0.005" alone: the bare host with other train arguments
    elif call and call["name"] in CONTROLS:
        return [_control(call["name"], call["inside"], settings, suffix, before, model)]
    elif call and call["name"] in _HELPERS and host is not None:
        grafts = _helper(call["name"], call["inside"] or "", host, model)
        return [Arm(name=graft + suffix, graft=graft, settings=settings) for graft in grafts]
    elif call and head.lower() != "none":
        raise SpecError(f"'{head}' is not an arm.{nearest(call['name'], [*_HELPERS, *CONTROLS])} {_GRAMMAR}.")
    graft = str(Graft.parse(head))
    return [Arm(name=graft + suffix, graft=graft, settings=settings)]


def _control(name: str, inside: str | None, settings: dict[str, Any], suffix: str, before: Sequence[Arm],
             model: str) -> Arm:
    if name == "scale":
        if inside:
            raise SpecError(f"'scale({inside})' is not a control: 'scale' is the bare host at the next scale and takes "
                            "nothing.")
        larger = _SCALE.sub(lambda m: m["family"] + _NEXT[m["scale"]], model)
        if larger == model:
            raise SpecError(f"'scale' cannot tell which model comes after '{model}': its name ends in none of the scales "
                            f"{', '.join(_NEXT)}. Write the arm out: 'none model=LARGER'.")
        return Arm(name=f"scale{suffix}", settings={"model": larger, **settings})
    if name == "aa":
        if inside:
            raise SpecError(f"'aa({inside})' is not a control: 'aa' is the baseline again and takes nothing.")
        return Arm(name=f"aa{suffix}", control="aa", settings=settings)
    grafted = [arm.graft for arm in before if arm.graft != "none" and not arm.control]
    target = str(Graft.parse(inside)) if inside else (grafted or ["none"])[-1]
    if target == "none":
        raise SpecError(f"'{name}' is the control of a graft: put it after one, as in 'se@8; {name}', or "
                        f"name it: '{name}(se@8)'.")
    return Arm(name=f"{name}({target}){suffix}", graft=target, control=name, settings=settings)


def _helper(name: str, inside: str, host: Host, model: str) -> list[str]:
    given = [piece.strip() for piece in split_outside(inside, ",") if piece.strip()]
    if name == "positions" and len(given) == 1:
        return [str(Graft.parse(f"{given[0]}@{row}")) for row in host.rows(model)]
    if name == "blocks" and given:
        return [str(Graft.parse(f"{block}@{','.join(given)}")) for block in host.blocks()]
    if name == "ratios" and len(given) >= 2:
        return [str(Graft.parse(f"{given[0]}(ratio={ratio})@{','.join(given[1:])}")) for ratio in _RATIOS]
    example = {"positions": "positions(se)", "blocks": "blocks(8)", "ratios": "ratios(se, 8)"}[name]
    raise SpecError(f"'{name}({inside})' is incomplete. Expected something like '{example}'.")


def _refuse_duplicates(arms: Sequence[Arm], host: Host) -> None:
    seen: dict[str, str] = {}
    for arm in arms:
        identity = repr((host.spell(arm.graft), arm.control, sorted(arm.settings.items(), key=repr)))
        if identity in seen:
            raise GraftError(f"The arms '{seen[identity]}' and '{arm.name}' are the same: spelled in full, "
                             f"both are '{host.spell(arm.graft)}'. To see how much two equal runs differ, "
                             "add the arm 'aa'.")
        seen[identity] = arm.name
