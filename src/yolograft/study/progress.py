"""Progress of a study in a terminal: a table of the arms, shown live during a run or printed by `yolograft status`."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Literal

from filelock import FileLock, Timeout
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from yolograft.study.engine import Running, power_warnings
from yolograft.study.study import Study
from yolograft.study.verdict import Word

__all__ = ["Lines", "LiveView", "line", "standing", "status"]

_STYLES = {Word.HELPS: "bold green", Word.HURTS: "bold red", Word.UNDECIDED: "", Word.FEW: "dim"}


def standing(study: Study) -> Table:
    """Return a table of the arms: finished runs, mean, mean paired difference, interval, p-value and verdict so far."""
    plan, verdicts = study.plan, {verdict.arm: verdict for verdict in study.verdicts()}
    table = Table(title=f"{plan.metric}, against {plan.baseline}", title_justify="left")
    for name in ("arm", "runs", "failed", "mean", "difference", "95% interval", "adjusted p", "verdict"):
        side: Literal["left", "right"] = "left" if name in ("arm", "verdict") else "right"
        table.add_column(name, justify=side, no_wrap=name == "arm")
    failed = [arm for arm, _ in study.failures()]
    for arm, scores in study.scores().items():
        cells = [arm, f"{len(scores)}/{len(plan.seeds)}", str(failed.count(arm) or ""),
                 f"{mean(scores.values()):.4f}" if scores else ""]
        verdict = verdicts.get(arm)
        if verdict is None or not verdict.seeds:
            table.add_row(*cells, "", "", "", "baseline" if arm == plan.baseline else "")
            continue
        low, high = verdict.t_interval
        interval = f"{low:+.4f} to {high:+.4f}" if math.isfinite(low) else ""
        table.add_row(*cells, f"{verdict.mean:+.4f}", interval,
                      f"{verdict.p_adjusted:.3g}", Text(str(verdict.word), style=_STYLES[verdict.word]))
    return table


def status(folder: str | Path, *, storage: str | None = None) -> str:
    """Return the state of a study as text: whether it runs, its finished trials, the table of arms, and failures."""
    study = Study.load(folder, storage=storage)
    total, done = len(study.plan.trials()), sum(len(by_seed) for by_seed in study.results.values())
    started = {which: row for which, row in study.latest.items() if row.state == "running"}
    locked = _is_running(study.folder)
    active = [which for which, row in started.items() if locked or (storage and not row.lost)]
    alive, counts = locked or bool(active), {"running": len(active), "interrupted": len(started) - len(active),
                                          "failed": len(study.failures())}
    state = "complete" if done == total else "running" if alive else "not running"
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(f"Study {study.folder}: {state}; {done} of {total} trials done"
                  + "".join(f", {count} {word}" for word, count in counts.items() if count) + ".", highlight=False)
    for (arm, seed), row in started.items():
        console.print(f"  {'running' if (arm, seed) in active else 'interrupted'}: {arm}, seed {seed}"
                      + (f", on {row.owner.partition(':')[0]}" if storage else ""), highlight=False)
    console.print(standing(study))
    for (arm, reason), seeds in _grouped(study.failures()).items():
        console.print(f"failed: {arm}, seed {', '.join(map(str, seeds))}: {reason}", highlight=False)
    for warning in power_warnings(study.plan):
        console.print(warning, highlight=False)
    early = [f"{tau:+.2f} after epoch {epoch} ({100 * share:.0f}%)" for epoch, tau, share in study.milestones()
             if math.isfinite(tau)]
    if early:
        console.print("Would fewer epochs have given the same ranking of the arms? Kendall's tau with the final means: "
                      f"{', '.join(early)}.", highlight=False)
    if done < total and not alive:
        console.print(f"Resume: yolograft study {study.folder / 'plan.yaml'}" + (" storage=URL" if storage else "")
                      + (" retry=true" if study.failures() else ""), highlight=False)
    return console.export_text()


def _grouped(failures: Mapping[tuple[str, int], str]) -> dict[tuple[str, str], list[int]]:
    groups: dict[tuple[str, str], list[int]] = {}
    for (arm, seed), reason in failures.items():
        groups.setdefault((arm, reason), []).append(seed)
    return groups


def _is_running(folder: Path) -> bool:
    for lock in folder.glob("running*.lock"):
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            return True
    return False


def line(study: Study, left: float) -> str:
    """Return the progress of a study in one line."""
    total, done = len(study.plan.trials()), sum(len(by_seed) for by_seed in study.results.values())
    failed = len(study.failures())
    return f"{done} of {total} trials" + (f", {failed} failed" if failed else "") + (
        "" if math.isnan(left) or done + failed == total else f", about {duration(left)} left")


class Lines:
    """A `View` for a log file: prints one line after each trial."""

    def __init__(self, console: Console | None = None) -> None:
        self._console, self._last = console or Console(), ""

    def __call__(self, study: Study, running: Sequence[Running], left: float) -> None:
        """Print the progress if the number of finished or failed trials has changed."""
        text = line(study, left)
        if text.partition(", about")[0] != self._last:
            self._last = text.partition(", about")[0]
            self._console.print(text, highlight=False)


class LiveView:
    """A `View` for a terminal: redraws the table of arms during a run.

    >>> with LiveView() as view:  # doctest: +SKIP
    ...     run(plan, folder, view=view)
    """

    def __init__(self, console: Console | None = None) -> None:
        self._live = Live(console=console or Console(), refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.__exit__(None, None, None)

    def __call__(self, study: Study, running: Sequence[Running], left: float) -> None:
        """Draw the table and the running trials."""
        self._live.update(_layout(study, running, left))


def _layout(study: Study, running: Sequence[Running], left: float) -> RenderableType:
    lines = [line(study, left)]
    epochs = study.plan.settings.get("epochs", "?")
    lines += [f"  {one.row.arm}, seed {one.row.seed}: epoch {one.epoch} of "
              f"{one.trial.settings.get('epochs', epochs)}"
              for one in running]
    return Group(standing(study), Text("\n".join(lines)))


def duration(seconds: float) -> str:
    """Format a number of seconds.

    >>> duration(7380)
    '2 h 3 min'
    """
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
