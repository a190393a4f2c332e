"""Which rows read the map before an attention row, and which read the map after it.

An inserted row acts only on the rows that read it. The row directly after it reads it through -1, but a Concat or the head
names its input by number: behind an inserted row, the unchanged number is the map before that row. Public files show both
intents. Most name the attention row (the neck and the head read what the next row reads). Some give the map after it to the
head alone: these write the attention row's own `from` as a number, near the head. So the linter takes an attention row with
`from: -1` as one for all readers, and warns of a reader that is left on the number before it. It takes a row with a number
as `from` as a branch for chosen readers, and gives no warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from yolograft.language import tr
from yolograft.modelyaml.comparison import Comparison
from yolograft.modelyaml.findings import Finding
from yolograft.modelyaml.mends import Mend
from yolograft.modelyaml.table import IMAGE, Row, short_text
from yolograft.modelyaml.wiring import new_source

__all__ = ["check_bypassed", "describe_readers"]


def check_bypassed(comparison: Comparison) -> Iterator[Finding]:
    """Warn of rows that still read the map before a row inserted in line, while other rows read the map after it."""
    for row in comparison.rows:
        fixed, passed = list(row.sources), []
        for at, source in enumerate(row.sources):
            target = row.target(source)
            if source < 0 or target is None or target == IMAGE or comparison.meaning(row, at) is None \
                    or comparison.meaning(row, at) != comparison.stock_source(target):
                continue
            last = comparison.last_in_line(target, row.number)
            if last != target and any(reader != row.number for reader in comparison.readers.get(last, [])):
                fixed[at] = new_source(last, row, source)
                passed.append((target, last))
        if passed:
            yield _describe_bypass(comparison, row, fixed, passed)


def _describe_bypass(comparison: Comparison, row: Row, fixed: list[int], passed: list[tuple[int, int]]) -> Finding:
    target, last = passed[0]
    first = comparison.rows[target + 1]
    branch = short_text([target, first.repeats, first.module, first.args])
    others = _join(reader for reader in comparison.readers[last] if reader != row.number)
    what = "; ".join(tr("{number} is the map before {module} (row {row})", number=before,
                        module=comparison.rows[after].module, row=after) for before, after in passed)
    return Finding(
        row=row.number, severity="warning",
        what=tr("{row}: {problems}.", row=comparison.written[row.number], problems=what),
        why=tr("Row {others} reads row {last}. This row has the number before it, so {module} has no effect on it.",
               others=others, last=last, module=comparison.rows[last].module),
        fix=tr("from: {value}. If you mean the map before it, write the inserted row as {branch}: a number in its `from` "
               "says that it is not for all rows.", value=short_text(fixed if row.is_list else fixed[0]), branch=branch),
        mends=(Mend(row=row.number, sources=tuple(fixed), is_list=row.is_list),))


def describe_readers(comparison: Comparison) -> Iterator[str]:
    """Say for every attention row which rows read its output, and which rows read the map before it."""
    for number in comparison.blocks:
        row = comparison.rows[number]
        before = row.target(row.sources[0])
        if row.is_list or before is None:
            continue
        after = _join(dict.fromkeys(comparison.readers.get(number, [])))
        others = _join(reader for reader in dict.fromkeys(comparison.readers.get(before, [])) if reader != number)
        if not after:
            continue  # a finding says so
        if others:
            yield tr("{row}: rows that read the map after it: {after}; rows that read the map before it ({before}): "
                     "{others}.",
                     row=comparison.written[number], after=after, others=others,
                     before=tr("the image") if before == IMAGE else f"{comparison.rows[before].module}, {before}")
        else:
            yield tr("{row}: rows that read the map after it: {after}; no row reads the map before it.",
                     row=comparison.written[number], after=after)


def _join(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
