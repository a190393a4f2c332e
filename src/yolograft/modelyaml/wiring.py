"""The linter's rule for each `from`: a number that no longer names the row that it named in the stock file.

A finding is an error if the row cannot work, or if the number is that of the stock file although inserted or removed rows
moved the row that it meant. A mend is given only if the mended rows fit: the maps of a Concat have equal strides, and the
inputs of the head are different rows. A stock file whose mends do not fit explains nothing, and then gives no finding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from yolograft.language import tr
from yolograft.modelyaml.comparison import Comparison
from yolograft.modelyaml.findings import Finding
from yolograft.modelyaml.mends import Mend
from yolograft.modelyaml.table import IMAGE, Row, has_map_output, short_text

__all__ = ["check_wiring", "new_source", "unfit_rows"]


def check_wiring(comparison: Comparison) -> list[Finding]:
    """Return a finding for every `from` that names no earlier row, or another row than in the stock file."""
    corrections: dict[int, int] = {}  # an inserted row with a wrong `from` -> the row that it should read
    findings = [finding for row in comparison.rows if (finding := _check_sources(comparison, row, corrections))]
    findings += [_describe_correction(comparison, number, target) for number, target in corrections.items()]
    return _drop_unfit(comparison, findings)


def unfit_rows(comparison: Comparison) -> set[int]:
    """Return the rows that cannot work: a Concat of maps of different strides, and a head that reads one row twice."""
    found = set()
    for row in comparison.known:
        targets = comparison.inputs(row)
        if row.module == "Concat":
            strides = {comparison.stride_of(target) for target in targets if target is not None} - {None}
            if len(strides) > 1:
                found.add(row.number)
        elif row.number == len(comparison.rows) - 1 and row.is_list and not has_map_output(row) \
                and len(set(targets)) < len(targets):
            found.add(row.number)
    return found


def _drop_unfit(comparison: Comparison, findings: list[Finding]) -> list[Finding]:
    """Drop the findings whose mends leave or make rows that cannot work."""
    before = unfit_rows(comparison)
    while True:
        mends = [mend for finding in findings for mend in finding.mends]
        unfit = unfit_rows(comparison.mended(mends))
        mended = {mend.row for mend in mends}
        bad = (unfit & mended) or (mended if unfit - before else set())
        if not bad:
            return findings
        findings = list(_keep(comparison, findings, bad))


def _keep(comparison: Comparison, findings: Iterable[Finding], bad: set[int]) -> Iterator[Finding]:
    for finding in findings:
        if not any(mend.row in bad for mend in finding.mends):
            yield finding
        elif finding.row is not None and None in comparison.inputs(comparison.rows[finding.row]):
            yield Finding(row=finding.row, severity=finding.severity, what=finding.what, why=finding.why,
                          fix=tr("Write the number of an earlier row."))


def _check_sources(comparison: Comparison, row: Row, corrections: dict[int, int]) -> Finding | None:
    stock = comparison.stock_row(row)
    is_same_length = stock is not None and len(stock.sources) == len(row.sources)
    wrong: list[str] = []
    reasons: list[str] = []
    moves: list[tuple[int, int, int]] = []
    fixed = list(row.sources)
    is_error, is_shifted, is_complete = False, False, True
    for at, source in enumerate(row.sources):
        target = row.target(source)
        meant = comparison.meaning(row, at)
        if meant is None and target is None and stock is not None and source in map(stock.target, stock.sources):
            meant = source
        expected = comparison.counterpart(meant) if meant is not None else None
        if expected is not None and expected >= row.number:
            expected = None
        if target is None:
            is_error = True
            wrong.append(_describe_missing(comparison, row, source))
            reasons.append(tr("A row can only read earlier rows."))
            if expected is not None:
                fixed[at] = new_source(comparison.last_in_line(expected, row.number), row, source)
            elif not row.is_list and row.number:
                fixed[at] = -1
            else:
                is_complete = False
            continue
        if meant is None or expected is None or _is_right(comparison, target, meant, expected):
            continue
        inserted = _wrong_inserted_row(comparison, target, meant, expected)
        if inserted is not None:
            corrections[inserted] = expected
            continue
        assert stock is not None
        by_shift = _is_explained_by_shift(comparison, source, stock.sources[at] if is_same_length else meant, expected)
        if comparison.is_restructured and not by_shift:
            continue
        is_shifted |= by_shift
        is_error |= by_shift or comparison.stride_of(target) != comparison.stride_of(expected)
        best = comparison.last_in_line(expected, row.number)
        fixed[at] = new_source(best, row, source)
        wrong.append(f"{source} is {_describe_row(comparison, target)}")
        moves.append((meant, expected, best))
    if not wrong:
        return None
    if is_shifted:
        _mend_rest(comparison, row, fixed)
    reasons = [*dict.fromkeys(reasons), *_describe_moves(comparison, moves)]
    if is_shifted and comparison.inserted:
        reasons.append(tr("Inserted rows ({rows}) move every later number.",
                          rows=", ".join(map(str, comparison.inserted[:9]))))
    value = short_text(fixed if row.is_list else fixed[0])
    fix = tr("from: {value}", value=value) if is_error else tr("from: {value}, unless the change is intended", value=value)
    if not is_complete:
        fix = tr("Write the number of an earlier row.")
    mends = (Mend(row=row.number, sources=tuple(fixed), is_list=row.is_list),) if is_complete else ()
    return Finding(row=row.number, severity="error" if is_error else "warning",
                   what=tr("{row}: {problems}.", row=row, problems="; ".join(wrong)), why=" ".join(reasons), fix=fix,
                   mends=mends)


def _mend_rest(comparison: Comparison, row: Row, fixed: list[int]) -> None:
    """Mend the inputs of a row in which another number was not shifted: the same slip explains them.

    They are numbers that name the map before an inserted row, and numbers whose meaning the stock file does not say.
    """
    for at, source in enumerate(row.sources):
        target = row.target(source)
        if fixed[at] != source or source < 0 or target is None:
            continue
        meant = comparison.meaning(row, at)
        if meant is not None and comparison.stock_source(target) == meant:
            fixed[at] = new_source(comparison.last_in_line(target, row.number), row, source)
        elif meant is None and not _has_shifted_number(comparison, row):
            unshifted = comparison.unshifted(source, row.number)
            if unshifted is not None and comparison.stride_of(unshifted) == comparison.stride_of(target):
                fixed[at] = new_source(unshifted, row, source)


def _has_shifted_number(comparison: Comparison, row: Row) -> bool:
    """Whether an input of the row has a number that was shifted since the stock file."""
    return any(source >= 0 and (meant := comparison.meaning(row, at)) is not None and source != meant
               for at, source in enumerate(row.sources))


def _describe_correction(comparison: Comparison, number: int, target: int) -> Finding:
    row = comparison.rows[number]
    source = row.sources[0]
    return Finding(
        row=number, severity="error",
        what=tr("{row} reads row {source} ({module}). The rows that read it need row {target} ({wanted}).", row=row,
                source=source, module=comparison.rows[source].module, target=target, wanted=comparison.rows[target].module),
        why=tr("Rows inserted before it moved row {source} of {stock} to {target}.", source=source,
               stock=comparison.stock_name, target=target),
        fix=tr("from: {value}", value=target), mends=(Mend(row=number, sources=(target,), is_list=False),))


def _describe_missing(comparison: Comparison, row: Row, source: int) -> str:
    number = short_text(source)
    if source == row.number:
        return tr("{number} is the row itself", number=number)
    if row.number < source < len(comparison.rows):
        return tr("{number} is a later row", number=number)
    return tr("{number} is not a row of this file", number=number)


def _describe_moves(comparison: Comparison, moves: list[tuple[int, int, int]]) -> Iterator[str]:
    """Say where stock rows are in the file.

    A move is the number of a stock row, its counterpart in the file, and the last row inserted in line after that.
    """
    if any(meant == IMAGE for meant, _, _ in moves):
        yield tr("{stock} reads the image (-1) there.", stock=comparison.stock_name)
    rows = [move for move in moves if move[0] != IMAGE]
    if not rows:
        return
    old = ", ".join(f"{meant} ({comparison.stock_rows[meant].module})" for meant, _, _ in rows)
    new = ", ".join(str(number) if best == number else
                    tr("{number} (followed by {module}, row {best})", number=number, module=comparison.rows[best].module,
                       best=best) for _, number, best in rows)
    if len(rows) > 1:
        yield tr("Rows {old} of {stock} are rows {new} in this file.", old=old, stock=comparison.stock_name, new=new)
    else:
        yield tr("Row {old} of {stock} is row {new} in this file.", old=old, stock=comparison.stock_name, new=new)


def _is_right(comparison: Comparison, target: int, meant: int, expected: int) -> bool:
    """Whether reading row `target` has the stock meaning (row `meant`, now row `expected`), or is an intended change."""
    if target == expected:
        return True
    if target in comparison.to_stock:
        return comparison.to_stock[target] not in comparison.certain
    source = comparison.stock_source(target)
    return source is None or source == meant


def _wrong_inserted_row(comparison: Comparison, target: int, meant: int, expected: int) -> int | None:
    """Return the inserted row between `target` and the stock rows that still has the stock file's number; else None."""
    while target not in comparison.to_stock and target != IMAGE:
        row = comparison.rows[target]
        if row.is_list:
            return None
        if row.sources[0] == meant and row.sources[0] >= 0 and expected < target:
            return target
        before = row.target(row.sources[0])
        if before is None:
            return None
        target = before
    return None


def _is_explained_by_shift(comparison: Comparison, source: int, stock_source: int, expected: int) -> bool:
    """Whether inserted or removed rows explain the difference: the number was not shifted, or by a wrong amount."""
    if source == stock_source:
        return True
    if source < 0 or stock_source < 0 or comparison.is_restructured:
        return False
    span = max(len(comparison.inserted), abs(expected - stock_source))
    return min(stock_source, expected) - span <= source <= max(stock_source, expected) + span


def _describe_row(comparison: Comparison, number: int) -> str:
    if number == IMAGE:
        return tr("the image")
    stride = comparison.strides[number]
    module = comparison.rows[number].module
    return module if stride is None else tr("{module}, stride {stride}", module=module, stride=stride)


def new_source(target: int, row: Row, source: int) -> int:
    """Return the number by which `row` names row `target`: -1 if `source` was -1 and that is still right."""
    return -1 if source == -1 and target == row.number - 1 else target
