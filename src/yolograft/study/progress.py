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

from yolograft import shell
from yolograft.language import tr
from yolograft.study import silence
from yolograft.study.conjunction import combine
from yolograft.study.engine import Running, power_warnings
from yolograft.study.population import population
from yolograft.study.study import Study
from yolograft.study.verdict import Word, printed, spoken

__all__ = ["Lines", "LiveView", "line", "standing", "status"]

_STYLES = {Word.HELPS: "bold green", Word.HURTS: "bold red", Word.DIFFERS: "bold yellow", Word.EQUIVALENT: "bold",
           Word.UNDECIDED: "", Word.FEW: "dim", Word.NONE: "dim"}


def standing(study: Study) -> Table:
    """Return a table of the arms: finished runs, mean, mean paired difference, and from the first look on the verdicts.

    Interval, p-value and word are those of the last complete look: see `sequential`.
    """
    plan, verdicts = study.plan, {verdict.arm: verdict for verdict in study.verdicts()}
    table = Table(title=tr("{metric}, against {baseline}", metric=plan.metric, baseline=plan.baseline), title_justify="left")
    columns = (tr("arm"), tr("runs"), tr("failed"), tr("mean"), tr("difference"), tr("95% interval"), tr("adjusted p"),
               tr("verdict"))
    for place, name in enumerate(columns):
        side: Literal["left", "right"] = "left" if place in (0, len(columns) - 1) else "right"
        table.add_column(name, justify=side, no_wrap=place == 0)
    failed = [arm for arm, _ in study.failures()]
    bases = set(study.scores()) - set(verdicts)
    for arm, scores in study.scores().items():
        cells = [arm, f"{len(scores)}/{len(plan.seeds)}", str(failed.count(arm) or ""),
                 f"{mean(scores.values()):.4f}" if scores else ""]
        verdict = verdicts.get(arm)
        if verdict is None or not verdict.seeds:
            table.add_row(Text(cells[0]), *cells[1:], "", "", "", tr("baseline") if arm in bases else "")
            continue
        low, high = verdict.interval
        interval = tr("{low:+.4f} to {high:+.4f}", low=printed(low), high=printed(high)) if math.isfinite(low) else ""
        table.add_row(Text(cells[0]), *cells[1:], f"{printed(verdict.mean):+.4f}", interval,
                      f"{verdict.p_adjusted:.3g}" if verdict.look else "",
                      Text(spoken(verdict.word, verdict.margin), style=_STYLES[verdict.word]))
    return table


def status(folder: str | Path, *, storage: str | None = None) -> str:
    """Return the state of a study as text: whether it runs, its finished trials, the table of arms, and failures."""
    study = Study.load(folder, storage=storage)
    total, done = study.planned, sum(len(by_seed) for by_seed in study.results.values())
    started = {which: row for which, row in study.latest.items() if row.state == "running"}
    locked = _is_running(study.folder)
    active = [which for which, row in started.items() if locked or (storage and not row.lost)]
    alive = locked or bool(active)
    state = tr("complete") if done >= total else tr("running") if alive else tr("not running")
    counts = [(tr(", {count} running", count=len(active)), len(active)),
              (tr(", {count} interrupted", count=len(started) - len(active)), len(started) - len(active)),
              (tr(", {count} failed", count=len(study.failures())), len(study.failures()))]
    console = Console(file=io.StringIO(), width=120, record=True, markup=False)  # a name can have brackets
    console.print(tr("Study {folder}: {state}; {done} of {total} trials done{counts}.", folder=study.folder, state=state,
                     done=done, total=total, counts="".join(text for text, count in counts if count)), highlight=False)
    for (arm, seed), row in started.items():
        text = (tr("  running: {arm}, seed {seed}", arm=arm, seed=seed) if (arm, seed) in active else
                tr("  interrupted: {arm}, seed {seed}", arm=arm, seed=seed))
        where = tr(", on {machine}", machine=row.owner.partition(":")[0]) if storage else ""
        console.print(text + where, highlight=False)
    console.print(standing(study))
    for (arm, reason), seeds in _grouped(study.failures()).items():
        console.print(tr("failed: {arm}, seed {seeds}: {reason}", arm=arm, seeds=", ".join(map(str, seeds)), reason=reason),
                      highlight=False)
    for sentence in [*(one.sentence() for one in combine(study)), population(study.plan), *look_sentences(study)]:
        console.print(sentence, highlight=False)
    for sentence in silence.sentences(study):
        console.print(sentence, highlight=False)
    for warning in power_warnings(study.plan):
        console.print(warning, highlight=False)
    early = [tr("{tau:+.2f} after epoch {epoch} ({percent:.0f}%)", tau=tau, epoch=epoch, percent=100 * share)
             for epoch, tau, share in study.milestones() if math.isfinite(tau)]
    if early:
        console.print(tr("Would fewer epochs have given the same ranking of the arms? Kendall's tau with the final "
                         "means: {early}.", early=", ".join(early)), highlight=False)
    if done < total and not alive:
        words = [*(["storage=URL"] if storage else []), *(["retry=true"] if study.failures() else [])]
        command = shell.command("study", study.folder / "plan.yaml", *words)
        console.print(tr("Resume: {command}", command=command), highlight=False)
    return console.export_text()


def look_sentences(study: Study) -> list[str]:
    """Return sentences about the looks: those that were taken, the next one, and the studies of the same data."""
    plan, taken, found = study.plan, study.taken, list[str]()
    if len(plan.schedule) > 1:
        looks = ", ".join(str(look.seeds) for look in taken) or "-"
        left = [str(look.seeds) for look in plan.schedule[len(taken):]]
        found.append(tr("Looks taken after {looks} seeds; {used:.1f}% of the error rate of {alpha:.1f}% is used.",
                        looks=looks, used=100 * study.spent, alpha=100 * plan.alpha))
        if left and study.needed == len(plan.seeds):
            found[-1] += " " + tr("Planned looks: after {looks} seeds. Verdicts appear at looks only.",
                                  looks=", ".join(left))
    if plan.registered.get("earlier"):
        words = [f"{one.arm}: {spoken(one.word, one.margin)}" for one in study.shared_verdicts]
        found.append(tr("Study {number} of this data and model here. Counted together with the earlier ones, which have "
                        "left {alpha:.1f}% of the error rate of 5%, its verdicts are: {words}.",
                        number=plan.registered["earlier"] + 1, alpha=100 * plan.shared_alpha, words="; ".join(words)))
    return found


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
    total, done = study.planned, sum(len(by_seed) for by_seed in study.results.values())
    failed = len(study.failures())
    text = tr("{done} of {total} trials", done=done, total=total)
    if failed:
        text += tr(", {count} failed", count=failed)
    if not math.isnan(left) and done + failed < total:
        text += tr(", about {time} left", time=duration(left))
    return text


class Lines:
    """A `View` for a log file: prints one line after each trial."""

    def __init__(self, console: Console | None = None) -> None:
        self._console, self._last = console or Console(), (-1, -1)
        self._restarted: set[tuple[str, int]] = set()

    def __call__(self, study: Study, running: Sequence[Running], left: float) -> None:
        """Print the progress if the number of finished or failed trials has changed."""
        counts = sum(len(by_seed) for by_seed in study.results.values()), len(study.failures())
        if counts != self._last:
            self._last = counts
            self._console.print(line(study, left), highlight=False)
        for one in running:
            which = (one.row.arm, one.row.seed)
            if one.restarts and which not in self._restarted:
                self._restarted.add(which)
                self._console.print(tr("{arm}, seed {seed}: its process hung or was stopped (timeout=). It continues from "
                                       "its last epoch.", arm=one.row.arm, seed=one.row.seed), highlight=False)


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
    lines += [tr("  {arm}, seed {seed}: epoch {epoch} of {epochs}", arm=one.row.arm, seed=one.row.seed, epoch=one.epoch,
                 epochs=one.trial.settings.get("epochs", epochs))
              + (tr(", restarted because it hung") if one.restarts else "") for one in running]
    return Group(standing(study), Text("\n".join(lines)))


def duration(seconds: float) -> str:
    """Format a number of seconds.

    >>> duration(7380)
    '2 h 3 min'
    """
    minutes = round(seconds / 60)
    if minutes < 1:
        return tr("{seconds} s", seconds=round(seconds))
    if minutes < 120:
        return tr("{minutes} min", minutes=minutes)
    return tr("{hours} h {minutes} min", hours=minutes // 60, minutes=minutes % 60)
