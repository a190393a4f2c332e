"""The report of a conversion or a check: counts by split and class, notes, and every problem with its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from yolograft.language import tr

__all__ = ["Effect", "Problem", "Report", "split_known"]

Effect = str  # "" (nothing was skipped or changed), "picture skipped", "object skipped" or "object changed"


@dataclass(frozen=True)
class Problem:
    """One defect of the source, and what happened to it.

    Attributes:
        file: the file, or the name of the image.
        what: the message.
        effect: what was skipped or changed.
        kind: a name for the kind of defect, the same in every language, where code asks for it.
        detail: the object or the other image, the same in every language.
    """

    file: str
    what: str
    effect: Effect = ""
    kind: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of a conversion or a check.

    Attributes:
        yaml: path of the data YAML.
        images: split -> number of images.
        boxes: split -> class -> number of objects.
        problems: everything that was skipped, changed or wrong, by file.
        notes: other information.
        identical: groups of images with the same pixels, by name.
        full: where all problems are listed, for a report that shows some of them: a file or a command.
    """

    yaml: Path
    images: dict[str, int]
    boxes: dict[str, dict[str, int]]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    identical: tuple[tuple[str, ...], ...] = ()
    full: str = ""

    @property
    def exit_code(self) -> int:
        """1 if something was skipped, changed or wrong, and 0 otherwise."""
        return int(bool(self.problems))

    def text(self, limit: int | None = 20) -> str:
        """Return the report as lines, with at most `limit` problems (None: all)."""
        lines = [tr("Data YAML: {yaml}", yaml=self.yaml)]
        for split, count in self.images.items():
            classes = ", ".join(f"{name} {number:,}" for name, number in self.boxes[split].items())
            counts = tr("{images} images {boxes} boxes", images=f"{count:>7,}",
                        boxes=f"{sum(self.boxes[split].values()):>7,}")
            lines.append(f"{split + ':':<7}{counts}   ({classes})")
        lines += [tr("note: {note}", note=note) for note in self.notes]
        shown = self.problems if limit is None else _choose(self.problems, limit)
        if self.problems:
            lines.append(self._heading())
            lines += [f"  {problem.file}: {problem.what}" for problem in shown]
        if len(shown) < len(self.problems):
            lines.append(tr("  ... and {count} more: {where}", count=len(self.problems) - len(shown), where=self.full))
        return "\n".join(lines)

    def _heading(self) -> str:
        count = len(self.problems)
        heading = tr("1 problem") if count == 1 else tr("{count} problems", count=count)
        effects = Counter(problem.effect for problem in self.problems)
        names = {"picture skipped": tr("images skipped"), "object skipped": tr("objects skipped"),
                 "object changed": tr("objects changed")}
        parts = [f"{names[effect]} {effects[effect]}" for effect in names if effects[effect]]
        return f"{heading} ({', '.join(parts)}):" if parts else f"{heading}:"


def _choose(problems: Sequence[Problem], limit: int) -> list[Problem]:
    """Return at most `limit` problems in their order, of each kind about equally many: a rare kind is not hidden."""
    ranks: Counter[tuple[str, str]] = Counter()
    ranked = []
    for at, problem in enumerate(problems):
        group = (problem.kind, problem.effect)
        ranked.append((ranks[group], at))
        ranks[group] += 1
    return [problems[at] for at in sorted(at for _, at in sorted(ranked)[:limit])]


def split_known(problems: Iterable[Problem], known: Iterable[tuple[str, str, str]]) -> tuple[list[Problem], list[str]]:
    """Separate the known problems of a public set, by (file, kind, detail); returns the others, and the known as notes."""
    expected = set(known)
    others: list[Problem] = []
    notes: list[str] = []
    for problem in problems:
        if (problem.file, problem.kind, problem.detail) in expected:
            notes.append(f"{problem.file}: {problem.what}")
        else:
            others.append(problem)
    return others, notes
