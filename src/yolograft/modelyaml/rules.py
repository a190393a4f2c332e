"""The linter's rules for any model: modules, the arguments of blocks, strides, unread rows, and doubled blocks.

A stock file improves the suggested fixes, but is not required.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from yolograft import blocks, network
from yolograft.errors import GraftError, ModuleError
from yolograft.language import tr
from yolograft.modelyaml import stock_match
from yolograft.modelyaml.comparison import Comparison
from yolograft.modelyaml.findings import Finding
from yolograft.modelyaml.mends import Mend
from yolograft.modelyaml.signatures import SQUEEZE_EXCITATION, understand
from yolograft.modelyaml.table import IMAGE, Row, has_map_output, parse_literal, short_text
from yolograft.modelyaml.torchvision_weights import find_download
from yolograft.modelyaml.unknown import check_argument_count, explain_unknown
from yolograft.modelyaml.untrusted import MAX_REPEATS

__all__ = ["check_blocks", "check_head_inputs", "check_modules", "check_repetition", "check_strides", "check_unread"]


def check_modules(comparison: Comparison) -> Iterator[Finding]:
    """Report repeats that are no whole number from 1, and unknown modules."""
    for row in comparison.rows:
        n = row.repeats
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_REPEATS:
            yield Finding(row=row.number, severity="error",
                          what=tr("{row} has {number} repeats.", row=row, number=short_text(n)),
                          why=tr("The second value is the number of repeats: a whole number from 1 to {most}.",
                                 most=MAX_REPEATS),
                          fix=tr("Write 1: {row}", row=_format_row(row, repeats=1)))
        if row.number in comparison.unknown:
            why, fix = explain_unknown(row.module, _module_names(comparison.stock_rows))
            yield Finding(row=row.number, severity="error",
                          what=tr("{row}: no module is named '{module}'.", row=row, module=short_text(row.module)),
                          why=why, fix=fix)
        elif (finding := check_argument_count(row)) is not None:
            yield finding
        elif (url := find_download(row)) is not None:
            yield Finding(row=row.number, severity="warning",
                          what=tr("{row} needs the weights {url}, which are not on this machine.", row=row, url=url),
                          why=tr("`yolo` downloads them when it opens the file. yolograft downloads nothing unasked, and "
                                 "does not build the row."),
                          fix=tr("Write None in the place of the weights, or set {switch}=1 to allow the download.",
                                 switch=network.ASSETS))
        elif row.number in comparison.measured.errors and None not in comparison.inputs(row):
            error = comparison.measured.errors[row.number]
            if isinstance(error, ModuleError):  # its text has the remedy
                yield Finding(row=row.number, severity="error", what=f"{row}: {error}",
                              why=tr("The names of the constructor's parameters do not tell what it takes first."),
                              fix=tr("Add the line above the class, and `from yolograft import module` to its file."))
                continue
            yield Finding(row=row.number, severity="error", what=str(error),
                          why=tr("yolograft runs the module once, to know the channels and the stride of its output."),
                          fix=tr("Change the row or the class, so that it runs."))


def check_blocks(comparison: Comparison) -> Iterator[Finding]:
    """Report attention rows with a wrong position, wrong arguments, or repeats."""
    for number, block in comparison.blocks.items():
        row = comparison.rows[number]
        targets = comparison.inputs(row)
        if None in targets:
            continue  # `check_wiring` reports it
        if row.is_list:
            yield Finding(row=number, severity="error", what=tr("{row} reads a list.", row=row),
                          why=tr("'{block}' takes one feature map.", block=block),
                          fix=tr("Write {row}", row=_format_row(row, source=row.sources[-1])))
            continue
        before = targets[0]
        if before != IMAGE and before is not None and not has_map_output(comparison.known[before]):
            yield Finding(row=number, severity="error",
                          what=tr("{row} follows {before}.", row=row, before=comparison.rows[before]),
                          why=tr("A block needs one map (B, C, H, W). That row does not give one."),
                          fix=tr("Move it before row {number}.", number=before))
            continue
        if number == len(comparison.rows) - 1:
            yield Finding(row=number, severity="error", what=tr("{row} is the file's last row.", row=row),
                          why=tr("The output of the last row is the output of the model, so the head must be last."),
                          fix=tr("Move it before the head, and let the head read it."))
            continue
        yield from _check_args(comparison, row, block)
        if isinstance(row.repeats, int) and row.repeats > 1 and not isinstance(row.repeats, bool):
            times = comparison.scale.repeats(row.repeats)
            yield Finding(row=number, severity="warning",
                          what=tr("{row} is repeated: {times} blocks at this scale.", row=row, times=times) if times > 1 else
                          tr("{row} is repeated: 1 block at this scale.", row=row),
                          why=tr("The second value is the number of repeats. Each block reads the block before."),
                          fix=tr("For one block: {row}", row=_format_row(row, repeats=1)))


def _check_args(comparison: Comparison, row: Row, block: str) -> Iterator[Finding]:
    number = row.number
    widths = {column[number] for column in (comparison.nominal, *comparison.channels_by_scale.values())}
    try:
        understood = understand(row, block, frozenset(c for c in widths if c is not None), comparison.channels[number])
    except GraftError as error:
        yield Finding(row=number, severity="error", what=str(error),
                      why=tr("'{block}' does not take these arguments.", block=block),
                      fix=tr("Write [] for its defaults: {row}", row=_format_row(row, args=[])))
        return
    actual, nominal = comparison.channels[number], comparison.nominal[number]
    is_squeeze = row.module == SQUEEZE_EXCITATION
    wrong = [c for c in understood.channels if c not in (actual, nominal)]
    if is_squeeze:
        wrong = [c for c in (parse_literal(row.args[0]),) if c != actual]
    if not wrong or actual is None or nominal is None:
        return
    scales = [name for name, channels in comparison.channels_by_scale.items() if channels[number] == wrong[0]]
    width_at = tr("It is its width at scale {scales}.", scales=", ".join(scales)) if scales else \
        tr("It is not its width at any scale.")
    consequence = tr("Stock Ultralytics builds the row with this number; yolograft takes the width from the host.") \
        if is_squeeze else tr("A fork that uses this number fails; yolograft takes the width from the host.")
    args = [actual, max(1, actual * int(parse_literal(row.args[1])) // wrong[0])] if is_squeeze else \
        [nominal if parse_literal(arg) in wrong and not isinstance(arg, bool) else arg for arg in row.args]
    what = tr("{row} says {wrong} channels. The map it reads has {actual} at scale {scale}.", row=row, wrong=wrong[0],
              actual=actual, scale=comparison.scale.name) if comparison.scale.name else \
        tr("{row} says {wrong} channels. The map it reads has {actual}.", row=row, wrong=wrong[0], actual=actual)
    fix = tr("Write {row}", row=_format_row(row, args=args)) if is_squeeze else \
        tr("Write {row} ({nominal} is the width before scaling) or {plain}.", row=_format_row(row, args=args),
           nominal=nominal, plain=_format_row(row, args=[]))
    yield Finding(row=number, severity="error", what=what, why=f"{width_at} {consequence}", fix=fix)


def check_strides(comparison: Comparison, skip: frozenset[int]) -> Iterator[Finding]:
    """Report a Concat whose inputs differ in stride, and a head with wrong strides; rows in `skip` are not checked."""
    for row in comparison.known:
        inputs = comparison.inputs(row)
        if row.number in skip or None in inputs or not row.is_list:
            continue
        strides = [comparison.stride_of(target) for target in inputs if target is not None]
        if row.module == "Concat" and len({stride for stride in strides if stride is not None}) > 1:
            yield _unequal_strides(comparison, row, strides)
        elif row.number == len(comparison.rows) - 1 and not has_map_output(row):
            yield from _check_head(comparison, row, strides)


def _unequal_strides(comparison: Comparison, row: Row, strides: list[Fraction | None]) -> Finding:
    # The input by -1 continues the path to this row. A number is what an edit breaks.
    main = next((at for at, source in enumerate(row.sources) if source == -1 and strides[at] is not None), None)
    wanted = strides[main] if main is not None else next(stride for stride in strides if stride is not None)
    fixed = list(row.sources)
    read = [row.target(source) for source, stride in zip(row.sources, strides, strict=True) if stride == wanted]
    for at, stride in enumerate(strides):
        if stride not in (wanted, None):
            same = [n for n in range(row.number) if comparison.strides[n] == wanted and n not in read
                    and has_map_output(comparison.known[n]) and _is_last_of_stride(comparison, n)]
            unshifted = comparison.unshifted(row.sources[at], row.number)
            if unshifted is not None and unshifted not in read and comparison.stride_of(unshifted) == wanted:
                fixed[at] = unshifted  # the number without the inserted rows
            elif same:
                fixed[at] = _nearest(same, row.target(row.sources[at]))
            if fixed[at] != row.sources[at]:
                read.append(fixed[at])
    is_complete = all(new != old for new, old, stride in zip(fixed, row.sources, strides, strict=True)
                      if stride not in (wanted, None))
    return Finding(row=row.number, severity="error",
                   what=_describe_problems(comparison, row, _describe_strides(row, strides)),
                   why=tr("Concat needs maps of equal height and width."),
                   fix=tr("from: {value} (the nearest map of stride {stride})", value=short_text(fixed), stride=wanted)
                   if is_complete else tr("Read maps of equal stride. Here, that is stride {stride}.", stride=wanted),
                   mends=(Mend(row=row.number, sources=tuple(fixed), is_list=True),) if is_complete else ())


def _describe_problems(comparison: Comparison, row: Row, problems: str) -> str:
    return tr("{row}: {problems}.", row=comparison.written[row.number], problems=problems)


def _nearest(numbers: list[int], target: int | None) -> int:
    return min(numbers, key=lambda number: abs(number - (target or 0)))


def _is_last_of_stride(comparison: Comparison, number: int) -> bool:
    """Whether the next row has another stride: later rows usually read such a row."""
    return number + 1 >= len(comparison.rows) or comparison.strides[number + 1] != comparison.strides[number]


def _describe_strides(row: Row, strides: list[Fraction | None]) -> str:
    return ", ".join(tr("{source} has stride {stride}", source=source, stride=stride)
                     for source, stride in zip(row.sources, strides, strict=True) if stride is not None)


def _check_head(comparison: Comparison, row: Row, strides: list[Fraction | None]) -> Iterator[Finding]:
    targets = comparison.inputs(row)
    doubled = [source for source, target in zip(row.sources, targets, strict=True) if targets.count(target) > 1]
    stock = comparison.stock_row(row)
    expected: list[Fraction | None] = []
    if stock is not None and len(stock.sources) == len(row.sources) and not comparison.is_restructured:
        expected = [comparison.stock_strides[t] for t in map(stock.target, stock.sources) if t is not None]
    fixed = list(row.sources)
    for at, (stride, wanted) in enumerate(zip(strides, expected, strict=False)):
        if wanted is not None and stride is not None and stride != wanted:
            same = [n for n in range(row.number) if comparison.strides[n] == wanted and has_map_output(comparison.known[n])]
            fixed[at] = comparison.last_in_line(same[-1], row.number) if same else fixed[at]
    if fixed == list(row.sources) and not doubled:
        return
    is_mended = fixed != list(row.sources) and len(set(map(row.target, fixed))) == len(fixed)
    wanted_strides = "/".join(str(stride) for stride in expected) or tr("one map of each stride")
    why = tr("{module} reads {strides} in {stock}.", module=row.kind, strides=wanted_strides, stock=comparison.stock_name) \
        if expected else tr("{module} reads {strides}.", module=row.kind, strides=wanted_strides)
    fix = tr("from: {value}", value=short_text(fixed)) if is_mended or not doubled else \
        tr("Row {number} appears twice. Change one of the two to another row.", number=doubled[0])
    yield Finding(row=row.number, severity="error",
                  what=_describe_problems(comparison, row, _describe_strides(row, strides)), why=why, fix=fix,
                  mends=(Mend(row=row.number, sources=tuple(fixed), is_list=True),) if is_mended else ())


def check_head_inputs(comparison: Comparison) -> Iterator[Finding]:
    """Warn of a head that reads a Concat, if the number without the attention rows names a row after it.

    No packaged head reads a Concat.
    """
    row = comparison.known[-1]
    if not row.is_list or has_map_output(row):
        return
    fixed, names = list(row.sources), []
    for at, target in enumerate(comparison.inputs(row)):
        meant = comparison.unshifted(row.sources[at], row.number)
        if target is not None and target != IMAGE and comparison.rows[target].module == "Concat" and meant is not None \
                and comparison.rows[meant].module != "Concat" and comparison.strides[meant] == comparison.strides[target]:
            fixed[at] = meant
            names.append(tr("{number} is {module}", number=row.sources[at], module="Concat"))
    if names and len(set(map(row.target, fixed))) == len(fixed):
        yield Finding(row=row.number, severity="warning", what=_describe_problems(comparison, row, "; ".join(names)),
                      why=tr("{module} usually reads the row after a Concat. Inserted rows move every later number.",
                             module=row.kind),
                      fix=tr("from: {value}, unless the change is intended", value=short_text(fixed)),
                      mends=(Mend(row=row.number, sources=tuple(fixed), is_list=True),))


def check_unread(comparison: Comparison, skip: frozenset[int]) -> Iterator[Finding]:
    """Report inserted rows that no row reads; rows in `skip` are not checked."""
    unread = [comparison.rows[number] for number in comparison.inserted
              if number not in comparison.readers and number not in skip and number != len(comparison.rows) - 1
              and has_map_output(comparison.known[number])]  # ImagePoolingAttn acts on the text features
    replacements: dict[int, dict[int, int]] = {}  # reader -> {row that it reads: the unread row after that row}
    wanted_by: dict[int, list[int]] = {}  # unread row -> the rows that read past it and shall read it
    for row in unread:
        before = row.target(row.sources[0])
        readers = comparison.readers.get(before, []) if before is not None else []
        later = [number for number in dict.fromkeys(readers) if number > row.number]
        if later and before is not None and not row.is_list:
            # A row inserted in line is for all readers; a row that names its input is for the last one, the head.
            wanted_by[row.number] = later if comparison.is_in_line(row.number) else later[-1:]
            for number in wanted_by[row.number]:
                replacements.setdefault(number, {})[before] = row.number
    for row in unread:
        fixes, mends = [], []
        for number in wanted_by.get(row.number, []):
            reader = comparison.rows[number]
            sources = tuple(replacements[number].get(target, source) if target is not None else source
                            for source, target in zip(reader.sources, comparison.inputs(reader), strict=True))
            fixes.append(tr("from: {value} in row {row} ({module}), so that it reads this row.",
                            value=short_text(list(sources) if reader.is_list else sources[0]), row=number,
                            module=reader.module))
            mends.append(Mend(row=number, sources=sources, is_list=reader.is_list))
        yield Finding(row=row.number, severity="error",
                      what=tr("{row}: no row reads it.", row=comparison.written[row.number]),
                      why=tr("No later `from` names this row, so it has no effect."),
                      fix=" ".join(fixes) or tr("Remove it, or let a later row read it."), mends=tuple(mends))


def check_repetition(comparison: Comparison) -> Iterator[Finding]:
    """Report an inserted block that directly follows an equal block."""
    for number in comparison.inserted:
        row = comparison.rows[number]
        if not number or number not in comparison.blocks or row.is_list or row.target(row.sources[0]) != number - 1:
            continue
        before = comparison.rows[number - 1]
        if before.number in comparison.blocks and (before.module, list(before.args)) == (row.module, list(row.args)):
            yield Finding(row=number, severity="warning",
                          what=tr("{row} repeats the block of row {before}.", row=row, before=number - 1),
                          why=tr("The second block acts on the output of the first. Usually there is one block."),
                          fix=tr("For one block, remove row {number} and subtract 1 from every `from` of {number} or more.",
                                 number=number))


def _module_names(stock_rows: tuple[Row, ...]) -> list[str]:
    """Return the known module names: those of the stock file and of all packaged files, and each block's names."""
    known = [row.module for row in stock_rows] + [row.module for row in stock_match.packaged_rows()]
    for name in blocks.names():
        known += [*blocks.aliases(name), name, blocks.lookup(name).__name__]
    return list(dict.fromkeys(known))


def _format_row(row: Row, *, source: int | None = None, repeats: int | None = None, args: list[Any] | None = None) -> str:
    """Return the row's text, with the given values changed."""
    sources: Any = list(row.sources) if row.is_list else row.sources[0]
    return short_text([sources if source is None else source, row.repeats if repeats is None else repeats, row.module,
                       row.args if args is None else args])
