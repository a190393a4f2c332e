"""Parser for the arms of a study: text -> `Arm` values.

    arms       ITEM; ITEM; ...            "none; se@8; se@8 lr0=0.005; cbam@p3,p4,p5; aa"
    ITEM       GRAFT [key=value ...]      a graft (or `none`), and train arguments for this arm only
             | YAML [+ GRAFT] [key=value ...]   a model YAML in the place of the host's, with a graft on its rows
             | positions(BLOCK)           one arm per row of the backbone and the neck
             | blocks(SITE)               one arm per block, all at one site
             | ratios(BLOCK, SITE)        one arm per ratio (2, 4, 8, 16, 32) of one block at one site
             | aa | params | gate1 | scale     a control; `params` and `gate1` use the graft of the arm before
                                               them, or the one in parentheses: `params(GRAFT)`
             | aa(3)                           three copies of the baseline, `aa`, `aa2` and `aa3`, with which every
                                               arm is compared as well

A path with spaces, commas, semicolons, `+` or brackets stands in quotes: `"my models/bifpn v2.yaml" + se@8`. An arm is named
by the file's name alone, so that a report shows no folders.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from yolograft.errors import GraftError, SpecError, nearest
from yolograft.language import tr
from yolograft.spec import Graft, parse_value, split_outside
from yolograft.study.trial import Host

__all__ = ["CONTROLS", "Arm", "parse_arms", "raise_all", "read_value"]

CONTROLS = (
    "aa",  # the baseline with its initial weights perturbed by one part in a million: shows the noise of training
    "params",  # a plain 1x1 convolution with about as many parameters as the block, at the same sites
    "gate1",  # the block with its gates fixed at 1
    "scale",  # the bare host at the next larger scale (n to s), to compare the cost of the block with a larger model
)
_HELPERS = ("positions", "blocks", "ratios")
_RATIOS = (2, 4, 8, 16, 32)
_SETTING = re.compile(r"[A-Za-z_]\w*=\S.*", re.DOTALL)
_CALL = re.compile(r"(?P<name>[A-Za-z_]\w*)\s*(?:\((?P<inside>.*)\))?", re.DOTALL)
_SCALE = re.compile(r"(?P<family>yolo[a-z]*-?v?\d+)(?P<scale>[tnsml])(?=$|[-.])")
_YAML = re.compile(r"\.ya?ml[\"']?$", re.IGNORECASE)
_PLAIN_PATH = re.compile(r"[\w.\-/\\:~]+")  # needs no quotes in the text of an arm
_COPY = re.compile(r"aa[2-9]")
_NEXT = {"t": "s", "n": "s", "s": "m", "m": "l", "l": "x"}


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One configuration in a study: a graft or the bare host, with its own train arguments; it can be a control.

    `yaml` is the name of the model YAML whose rows replace those of the host, and `file` is its path as it was typed.
    """

    name: str
    graft: str = "none"
    control: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    yaml: str = ""
    file: str = field(default="", compare=False)

    @property
    def role(self) -> str:
        """Name of the control that this arm is, `scale` included; empty if the arm is no control."""
        word = re.split(r"[ (]", self.name)[0]
        return "aa" if _COPY.fullmatch(word) else word if word in CONTROLS else ""

    @property
    def bare(self) -> bool:
        """Whether this is the bare host with the settings of the study: the default baseline."""
        return self.graft == "none" and not (self.control or self.settings or self.yaml)


def parse_arms(text: str | Sequence[str], host: Host | None, *, model: str) -> tuple[Arm, ...]:
    """Parse the arms, expand the helpers, and check that all arms differ.

    Without a host, helpers are not expanded and nothing is checked. This is enough to display a recorded study.

    >>> from yolograft.study import dummy
    >>> [arm.name for arm in parse_arms("none; se@8; se@8 lr0=0.005; aa", dummy, model="yolo11n.pt")]
    ['none', 'se@8', 'se@8 lr0=0.005', 'aa']

    Raises:
        SpecError: an item has none of the forms above.
        GraftError: two arms are the same, or the host has no block of that name. All wrong items are in one error.
    """
    items = [item for line in ([text] if isinstance(text, str) else text) for item in _split_items(str(line))]
    arms: list[Arm] = []
    wrong: dict[str, GraftError] = {}
    for item in filter(None, map(str.strip, items)):
        try:
            found = _expand(item, arms, host, model)
            if host is not None:
                for arm in found:
                    host.spell(arm.graft)
            arms += found
        except GraftError as error:
            wrong[item] = error
    raise_all(wrong)
    if not arms:
        raise SpecError(tr("The study has no arms. {grammar}.", grammar=_grammar()))
    if host is not None:
        _check_distinct(arms, host)
    return tuple(arms)


def raise_all(wrong: Mapping[str, GraftError]) -> None:
    """Raise the errors of several arms as one, if there are any. A problem that arms share is named once."""
    arms: dict[str, list[str]] = {}
    for arm, error in wrong.items():
        arms.setdefault(str(error), []).append(arm)
    if len(arms) == 1:
        raise next(iter(wrong.values()))
    if arms:
        lines = [tr("'{arms}': {problem}", arms="', '".join(names), problem=problem) for problem, names in arms.items()]
        raise SpecError(tr("{count} arms cannot be used:", count=len(wrong)) + "".join(f"\n  {line}" for line in lines))


def _split_items(text: str) -> list[str]:
    """Split at semicolons, and at commas that end an arm: `none, se@8` has two arms, and `se@p3,p4` has one."""
    items: list[str] = []
    for part in split_outside(text, ";"):
        first, *others = split_outside(part, ",")
        items.append(first)
        for piece in others:
            if _starts_arm(piece.strip()):
                items.append(piece)
            else:
                items[-1] += f",{piece}"
    return items


def _starts_arm(text: str) -> bool:
    call = _CALL.match(text)
    name = call["name"] if call else ""
    if name in ("none", *CONTROLS, *_HELPERS) or _COPY.fullmatch(name):
        return True
    return len(split_outside(text, "@")) > 1 or bool(_YAML.search(text))


def read_value(text: str) -> Any:
    """Parse the value of a train argument: a number, a boolean, None or a list; any other text is returned unchanged."""
    try:
        value = parse_value(text)
    except SpecError:  # a path, a device list such as 0,1, ...
        return text
    return list(value) if isinstance(value, tuple) else value


def _expand(item: str, previous: Sequence[Arm], host: Host | None, model: str) -> list[Arm]:
    words = _join_values([word for word in split_outside(item, " ") if word.strip()])
    split = len(words)
    while split and _SETTING.fullmatch(words[split - 1]):
        split -= 1
    name_part = " ".join(words[:split])
    settings = {key: read_value(value) for key, _, value in (word.partition("=") for word in words[split:])}
    suffix = "".join(f" {word}" for word in words[split:])
    call = _CALL.fullmatch(name_part)
    if not name_part:
        name_part = "none"  # "lr0=0.005" alone is the bare host with this train argument
    elif call and call["name"] == "aa" and call["inside"] is not None:
        return _copies(call["inside"], settings, suffix)
    elif call and (call["name"] in CONTROLS or _COPY.fullmatch(call["name"])):
        return [_control(call["name"], call["inside"], settings, suffix, previous, model)]
    elif call and call["name"] in _HELPERS and host is not None:
        grafts = _helper(call["name"], call["inside"] or "", host, model)
        return [Arm(name=graft + suffix, graft=graft, settings=settings) for graft in grafts]
    elif call and name_part.lower() != "none":
        raise SpecError(tr("'{name_part}' is not an arm.{nearest} {grammar}.", name_part=name_part,
                           nearest=nearest(call["name"], [*_HELPERS, *CONTROLS]), grammar=_grammar()))
    made = _configuration(name_part, previous)
    return [replace(made, name=made.name + suffix, settings=settings)]


def _join_values(words: Sequence[str]) -> list[str]:
    """Join the words of a value with blanks around `+`, as in `swap=A@8 + B@9`."""
    joined: list[str] = []
    for word in words:
        if joined and _SETTING.fullmatch(joined[-1]) and (word.startswith("+") or joined[-1].endswith("+")):
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return joined


def _configuration(text: str, previous: Sequence[Arm]) -> Arm:
    """Return the arm of a graft, of a model YAML, or of a model YAML with a graft on its rows."""
    parts = [part.strip() for part in split_outside(text, "+")]
    files = [part for part in parts if _YAML.search(part)]
    if not files:
        graft = str(Graft.parse(text))
        return Arm(name=graft, graft=graft)
    if len(files) > 1:
        raise SpecError(tr("'{text}' names two model YAMLs, and an arm has one. For two arms, write a semicolon between "
                           "them.", text=text))
    rest = [part for part in parts if part not in files]
    graft = str(Graft.parse(" + ".join(rest))) if rest else "none"
    file = _unquoted(files[0])
    short = _short_name(file, {arm.yaml: arm.file for arm in previous if arm.yaml})
    name = " + ".join([_quoted(short), *([graft] if rest else [])])
    return Arm(name=name, graft=graft, yaml=short, file=file)


def _unquoted(text: str) -> str:
    return text[1:-1] if text[0] in "'\"" and text[-1] == text[0] and len(text) > 1 else text


def _quoted(path: str) -> str:
    if _PLAIN_PATH.fullmatch(path):
        return path
    if '"' in path and "'" in path:
        raise SpecError(tr("The path {path} has both kinds of quotes. Rename the file.", path=path))
    return f"'{path}'" if '"' in path else f'"{path}"'


def _short_name(file: str, used: Mapping[str, str]) -> str:
    """Return the name of a file, with as many of its folders as distinguish it from the other files."""
    folders = re.split(r"[\\/]", file)
    for count in range(1, len(folders) + 1):
        short = "/".join(folders[-count:])
        if used.get(short, file) == file:
            return short
    return file


def _control(name: str, inside: str | None, settings: dict[str, Any], suffix: str, previous: Sequence[Arm],
             model: str) -> Arm:
    if name == "scale":
        if inside:
            raise SpecError(tr("'scale({inside})' is not a control: 'scale' is the bare host at the next scale and "
                               "takes no argument.", inside=inside))
        larger = _SCALE.sub(lambda m: m["family"] + _NEXT[m["scale"]], model)
        if larger == model:
            raise SpecError(tr("'scale' cannot tell which model comes after '{model}': its name has none of the scale "
                               "letters {next}. Name the larger model: 'none model=LARGER'.", model=model,
                               next=", ".join(_NEXT)))
        return Arm(name=f"scale{suffix}", settings={"model": larger, **settings})
    if name.startswith("aa"):
        return Arm(name=f"{name}{suffix}", control=name, settings=settings)
    grafted = [arm for arm in previous if arm.graft != "none" and not arm.control]
    target = _configuration(inside, previous) if inside else grafted[-1] if grafted else Arm(name="none")
    if target.graft == "none" and not target.yaml:
        raise SpecError(tr("'{name}' is the control of a graft: put it after that graft, as in 'se@8; {name}', or "
                           "name the graft: '{name}(se@8)'.", name=name))
    bare_name = target.name if inside or not target.yaml else f"{_quoted(target.yaml)} + {target.graft}"
    label = bare_name if target.yaml else target.graft  # without the train arguments of the arm before
    return replace(target, name=f"{name}({label}){suffix}", control=name, settings=settings)


def _copies(inside: str, settings: dict[str, Any], suffix: str) -> list[Arm]:
    if not re.fullmatch(r"[1-9]", inside.strip()):
        raise SpecError(tr("'aa({inside})' is not a control: 'aa' is a copy of the baseline, and 'aa(3)' are three.",
                           inside=inside))
    names = ["aa", *(f"aa{number}" for number in range(2, int(inside) + 1))]
    return [Arm(name=f"{name}{suffix}", control=name, settings=settings) for name in names]


def _helper(name: str, inside: str, host: Host, model: str) -> list[str]:
    arguments = [piece.strip() for piece in split_outside(inside, ",") if piece.strip()]
    if name == "positions" and len(arguments) == 1:
        return [str(Graft.parse(f"{arguments[0]}@{row}")) for row in host.rows(model)]
    if name == "blocks" and arguments:
        return [str(Graft.parse(f"{block}@{','.join(arguments)}")) for block in host.blocks()]
    if name == "ratios" and len(arguments) >= 2:
        return [str(Graft.parse(f"{arguments[0]}(ratio={ratio})@{','.join(arguments[1:])}")) for ratio in _RATIOS]
    example = {"positions": "positions(se)", "blocks": "blocks(8)", "ratios": "ratios(se, 8)"}[name]
    raise SpecError(tr("'{name}({inside})' is incomplete. Expected a form such as '{example}'.", name=name,
                       inside=inside, example=example))


def _check_distinct(arms: Sequence[Arm], host: Host) -> None:
    seen: dict[str, str] = {}
    for arm in arms:
        identity = repr((arm.yaml, host.spell(arm.graft), arm.control, sorted(arm.settings.items(), key=repr)))
        if identity in seen:
            raise GraftError(tr("The arms '{seen}' and '{name}' are the same: with all settings written out, both are "
                                "'{spell}'. To measure how much two equal configurations differ, add the arm 'aa'.",
                                seen=seen[identity], name=arm.name, spell=host.spell(arm.graft)))
        seen[identity] = arm.name


def _grammar() -> str:
    return tr("Expected a graft with train arguments, as in 'se@8 lr0=0.005', a model YAML, as in 'my.yaml + se@8', or one "
              "of: {names}",
              names=", ".join([*(f"{name}(...)" for name in _HELPERS), *CONTROLS]))
