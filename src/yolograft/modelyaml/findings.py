"""The linter's result: one finding per problem, and a report per file."""

from __future__ import annotations

from dataclasses import dataclass

from yolograft.language import tr
from yolograft.modelyaml.mends import Mend

__all__ = ["Finding", "Report"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem in a model YAML file.

    Attributes:
        row: the row's number in the file; None if the finding is about the whole file.
        severity: `error` (the model cannot be built, or differs from what the edit intended) or `warning` (the edit may be
            intended).
        what: the row as it is in the file, and the problem.
        why: the reason.
        fix: the text to write, or the action to take.
        mends: the fix as data; empty if the fix is more than a new `from`.
    """

    row: int | None
    severity: str
    what: str
    why: str
    fix: str
    mends: tuple[Mend, ...] = ()

    def __str__(self) -> str:
        severity = {"error": tr("error"), "warning": tr("warning")}.get(self.severity, self.severity)
        return tr("{severity}: {what}\n    why:  {why}\n    fix:  {fix}", severity=severity, what=self.what, why=self.why,
                  fix=self.fix)


@dataclass(frozen=True, kw_only=True)
class Report:
    """The findings of one file.

    Attributes:
        path: the file, as the caller named it.
        compared: a phrase that names the stock file and the scale of the comparison.
        findings: the findings, sorted by row.
        notes: how rows are read that do not mean what they say, such as attention rows. No problems.
    """

    path: str
    compared: str
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()

    @property
    def errors(self) -> int:
        """The number of findings that are errors."""
        return sum(finding.severity == "error" for finding in self.findings)

    def __str__(self) -> str:
        warnings = len(self.findings) - self.errors
        counts = []
        if self.errors:
            counts.append(tr("{count} errors", count=self.errors) if self.errors > 1 else tr("1 error"))
        if warnings:
            counts.append(tr("{count} warnings", count=warnings) if warnings > 1 else tr("1 warning"))
        title = tr("{path}: {count} ({compared})", path=self.path, count=", ".join(counts) or tr("no problems"),
                   compared=self.compared)
        return "\n".join([title, *map(str, self.findings), *(tr("note: {note}", note=note) for note in self.notes)])
