"""Class names as people write them: merging, and names that differ only in case, blanks or punctuation."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from yolograft.data.report import Problem
from yolograft.errors import DataError, nearest
from yolograft.language import tr

__all__ = ["check_merge", "find_variants", "parse_merge", "parse_names", "suggest"]


def parse_names(text: str) -> list[str]:
    """Parse `names=`: the classes in order, as in `cat,dog`. Full-width commas of Chinese keyboards are allowed."""
    return [name.strip() for name in text.replace("，", ",").split(",")]


def parse_merge(text: str) -> dict[str, str]:
    """Parse `merge=`: pairs of a class and its new name, as in `Crack:crack,CRACK:crack`.

    Full-width commas and colons of Chinese keyboards are allowed.

    Raises:
        DataError: the text has another form, or names a class twice.
    """
    merge: dict[str, str] = {}
    for pair in text.replace("：", ":").replace("，", ",").split(","):
        old, colon, new = (part.strip() for part in pair.partition(":"))
        if not colon or not old or not new or old in merge:
            raise DataError(tr("merge={text}: expected each class once with its new name, as in "
                               "merge=Crack:crack,CRACK:crack", text=text))
        merge[old] = new
    return merge


def check_merge(merge: Mapping[str, str], present: Iterable[str]) -> Mapping[str, str]:
    """Return `merge` if every class in it is present.

    Raises:
        DataError: the set has no such class.
    """
    known = set(present)
    for old in merge:
        if old not in known:
            raise DataError(tr("merge: the set has no class '{name}'.{nearest} Its classes: {classes}.", name=old,
                               nearest=nearest(old, known), classes=", ".join(sorted(known))))
    return merge


def find_variants(counts: Mapping[str, int], classes: Sequence[str]) -> list[Problem]:
    """Return a problem for each group of names that differ only in case, blanks, hyphens or underscores.

    Args:
        counts: class -> number of its objects.
        classes: the classes of the new set, in order. A group is merged into one of these if it has one, and into its
            most frequent name otherwise.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys([*classes, *counts]):
        groups[_key(name)].append(name)
    problems = []
    for group in groups.values():
        if len(group) < 2:
            continue
        kept = max(group, key=lambda name: (name in classes and not set(group) <= set(classes), counts.get(name, 0)))
        merge = ",".join(f"{name}:{kept}" for name in group if name != kept)
        listed = ", ".join(f"'{name}' ({counts.get(name, 0):,})" for name in group)
        problems.append(Problem(tr("classes"), tr(
            "{names} differ only in case, blanks or punctuation. If they are one class, add \"merge={merge}\"",
            names=listed, merge=merge), kind="similar classes"))
    return problems


def suggest(name: str, classes: Sequence[str]) -> str:
    """Return what to do about a class that is not in `names`: the class that differs only in case, or the nearest."""
    same = next((other for other in classes if _key(other) == _key(name)), None)
    if same is not None:
        return tr(" Add \"merge={name}:{other}\" if it is that class.", name=name, other=same)
    return nearest(name, classes)


def _key(name: str) -> str:
    """Return the letters and digits of a name, without case; the name itself if it has none."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in text if character.isalnum()) or text
