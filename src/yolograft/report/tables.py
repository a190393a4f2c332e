"""The tables of the report as CSV, Markdown and LaTeX (booktabs), for papers and further analysis."""

from __future__ import annotations

import math
from collections.abc import Callable

from yolograft.escapes import csv_text, latex, markdown
from yolograft.report import signed
from yolograft.report.summary import SIZES, Summary
from yolograft.study.verdict import Word

__all__ = ["FORMATS", "TABLES", "classes", "costs", "metrics", "render", "sizes", "trials", "verdicts"]

Table = list[list[str]]


def number(value: float, digits: int = 4, *, sign: bool = False) -> str:
    """Format a number; a value that rounds to 0 has no sign; "" if it is not finite."""
    return signed.number(value, digits, sign=sign).replace("−", "-")


def interval(low: float, high: float, *, sign: bool = False) -> str:
    """Format an interval; "" if it is not finite."""
    return f"{number(low, sign=sign)} to {number(high, sign=sign)}" if math.isfinite(low + high) else ""


def verdicts(summary: Summary) -> Table:
    """Return the main table: means, paired differences and verdicts of the arms."""
    table = [["arm", "runs", summary.metric, "95% interval", "difference", "difference 95% interval",
              "difference 95% interval (t, alone)", "difference 95% interval (BCa, alone)",
              "difference 95% interval (seeds and images)", "p", "p (Holm)", "p (max-T)",
              "P(worse)", "P(same)", "P(better by more)", "P(better)", "smallest detectable", "parameters", "verdict"]]
    for row in summary.rows:
        spread, verdict = row.metrics[summary.metric], row.verdict
        start = [row.name, str(spread.runs), number(spread.mean), interval(spread.low, spread.high)]
        size = f"{row.costs['parameters']:.0f}" if "parameters" in row.costs else ""
        if verdict is None or not verdict.seeds:
            table.append([*start, *[""] * 13, size, "baseline" if verdict is None else str(verdict.word)])
            continue
        decided = verdict.word is not Word.FEW
        table.append([*start, number(verdict.mean, sign=True), interval(*verdict.interval, sign=True),
                      interval(*verdict.t_interval, sign=True), interval(*verdict.bca_interval, sign=True),
                      interval(*summary.over_images.get(row.name, (math.nan, math.nan)), sign=True),
                      *map(number, (verdict.p, verdict.p_holm, verdict.p_adjusted)),
                      *(number(part, 2) for part in verdict.posterior), number(verdict.better[0], 2),
                      number(verdict.detectable) if decided else "", size,
                      f"no difference larger than {verdict.margin:g}" if verdict.word is Word.EQUIVALENT else
                      str(verdict.word)])
    return table


def metrics(summary: Summary) -> Table:
    """Return every metric of every arm: mean and 95% interval over the seeds."""
    table = [["arm", *(text for name in summary.metrics for text in (name, f"{name} 95% interval"))]]
    for row in summary.rows:
        spreads = [row.metrics[name] for name in summary.metrics]
        table.append([row.name, *(text for one in spreads for text in (number(one.mean), interval(one.low, one.high)))])
    return table


def classes(summary: Summary) -> Table:
    """Return average precision by class: of the baseline, and the paired differences of the other arms."""
    names = list(next(iter(summary.classes.values()), {}))
    table = [["arm", "value", *names]]
    for arm, spreads in summary.classes.items():
        base = arm == summary.baseline
        table.append([arm, (summary.class_metric or "") if base else "difference",
                      *(number(spreads[name].mean, sign=not base) for name in names)])
    return table


def sizes(summary: Summary) -> Table:
    """Return AP by the size of the objects: of the baseline, and the paired differences of the other arms."""
    names = [size for size in SIZES if size in summary.sizes.get(summary.baseline, {})]
    table = [["arm", "value", *(text for size in names for text in (size, f"{size} 95% interval"))]]
    for arm, spreads in summary.sizes.items():
        base = arm == summary.baseline
        cells = [(number(spreads[size].mean, sign=not base), interval(spreads[size].low, spreads[size].high, sign=not base))
                 for size in names]
        table.append([arm, "AP50-95" if base else "difference", *(text for pair in cells for text in pair)])
    return table


def costs(summary: Summary) -> Table:
    """Return the costs of every arm; latency relative to the baseline is empty for a network that equals the baseline's."""
    found, names = summary.latency, ("parameters", "gflops")
    table = [["arm", *names]]
    if found is not None:
        table[0] += ["latency_ms", "latency_ms 95% interval", "ratio", "ratio 95% interval", "fps"]
    for row in summary.rows:
        cells = [row.name, *(f"{row.costs[name]:.10g}" if name in row.costs else "" for name in names)]
        timed, ratio = (None, None) if found is None else (found.of(row.name), found.ratio(row.name, summary.baseline))
        if found is not None:
            cells += [number(timed.median), interval(*timed.interval)] if timed is not None else ["", ""]
            cells += [number(ratio[0]), interval(*ratio[1:])] if ratio is not None else ["", ""]
            cells.append(number(found.fps(row.name) or math.nan, 1))
        table.append(cells)
    return table


def trials(summary: Summary) -> Table:
    """Return every trial with its metrics and costs, from which all other tables are computed."""
    results = summary.study.results
    names = list(dict.fromkeys(name for by_seed in results.values() for one in by_seed.values() for name in one.costs))
    table = [["arm", "seed", "state", "key", *summary.metrics, *names, "reason"]]
    for (arm, seed), row in summary.study.latest.items():
        result = row.result
        table.append([arm, str(seed), row.state, row.key,
                      *(repr(float(result.metrics[m])) if result and m in result.metrics else "" for m in summary.metrics),
                      *(repr(float(result.costs[c])) if result and c in result.costs else "" for c in names), row.reason])
    return table


def render(table: Table, format: str) -> str:
    """Format a table as `csv`, `md` or `tex`."""
    return FORMATS[format](table)


def _markdown(table: Table) -> str:
    rows = [[markdown(cell) for cell in row] for row in table]
    rule = ["---" if column == 0 else "---:" for column in range(len(table[0]))]
    return "".join(f"| {' | '.join(row)} |\n" for row in [rows[0], rule, *rows[1:]])


def _latex(table: Table) -> str:
    rows = [" & ".join(latex(cell) for cell in row) + r" \\" for row in table]
    return "\n".join([r"\begin{tabular}{l" + "r" * (len(table[0]) - 1) + "}", r"\toprule", rows[0], r"\midrule",
                      *rows[1:], r"\bottomrule", r"\end{tabular}", ""])


FORMATS: dict[str, Callable[[Table], str]] = {"csv": csv_text, "md": _markdown, "tex": _latex}
TABLES: dict[str, Callable[[Summary], Table]] = {"verdicts": verdicts, "metrics": metrics, "classes": classes,
                                                 "sizes": sizes, "costs": costs, "trials": trials}
