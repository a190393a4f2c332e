"""The table of a study on several data sets: the verdict on each arm on each of them, with links to their pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from yolograft.study import Study
from yolograft.study.conjunction import Combined, combine
from yolograft.study.verdict import Verdict

__all__ = ["DataSets", "data_sets"]


@dataclass(frozen=True, kw_only=True)
class DataSets:
    """The data sets of a study, as the page of one of them shows them.

    Attributes:
        links: the short name of each data set -> the link to its page, "" for the page itself.
        arms: one combined reading for each arm.
        verdicts: arm -> data set -> verdict.
    """

    links: Mapping[str, str]
    arms: tuple[Combined, ...]
    verdicts: Mapping[str, Mapping[str, Verdict]]


def data_sets(study: Study, file: str) -> DataSets | None:
    """Return the data sets of a study for the page of one of them; None for a study on one.

    Args:
        study: the study on one of its data sets, a member of `Study.parts`.
        file: the name of the page, which each data set has in its own folder (see `page.write`).
    """
    whole, own = study.whole or study, study.plan.dataset
    if len(whole.parts) < 2:
        return None
    up = "../" * len(_folders(own))
    names = [part.plan.dataset for part in whole.parts]
    links = {name: "" if name == own else up + quote("/".join([*_folders(name), file])) for name in names}
    verdicts: dict[str, dict[str, Verdict]] = {}
    for name, part in zip(names, whole.parts, strict=True):
        for verdict in part.verdicts():
            verdicts.setdefault(verdict.arm, {})[name] = verdict
    return DataSets(links=links, arms=tuple(combine(study)), verdicts=verdicts)


def _folders(name: str) -> list[str]:
    """Return the folders of a data set's page below the folder of the report."""
    return [part for part in name.replace("\\", "/").split("/") if part]
