"""The linter's result: one finding per problem, and a report per file."""

from __future__ import annotations

from dataclasses import dataclass

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
        return f"{self.severity}: {self.what}\n    why:  {self.why}\n    fix:  {self.fix}"


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
        count = ", ".join([f"{n} {word}{'s' * (n > 1)}" for n, word in ((self.errors, "error"), (warnings, "warning")) if n])
        return "\n".join([f"{self.path}: {count or 'no problems'} ({self.compared})", *map(str, self.findings),
                          *(f"note: {note}" for note in self.notes)])
