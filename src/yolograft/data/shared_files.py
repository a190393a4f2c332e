"""Image files that are in two splits of a data set: found by size and content, without decoding an image."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["shared_files"]

_PART = 4096  # bytes at the middle of a file, which are compared before whole files are


def shared_files(first: Sequence[str | Path], second: Sequence[str | Path]) -> list[tuple[Path, Path]]:
    """Return the files of two lists that are the same file or have the same content, as (file of first, file of second).

    Each file of `second` is in one pair at most. Only files of equal size are read, and only their middle if that differs.
    Files that do not exist are left out.
    """
    ours, theirs = _by_size(first), _by_size(second)
    found: list[tuple[Path, Path]] = []
    for size in ours.keys() & theirs.keys():
        known: dict[Path, Path] = {path.resolve(): path for path in ours[size]}
        same_path = {path: known[path.resolve()] for path in theirs[size] if path.resolve() in known}
        found += [(path, other) for other, path in same_path.items()]
        others = [path for path in theirs[size] if path not in same_path]
        if others:
            found += _same_content(ours[size], others, size)
    return sorted(found, key=lambda pair: pair[1])


def _by_size(files: Iterable[str | Path]) -> dict[int, list[Path]]:
    groups: dict[int, list[Path]] = defaultdict(list)
    for file in map(Path, files):
        try:
            groups[file.stat().st_size].append(file)
        except OSError:
            continue
    return groups


def _same_content(first: Sequence[Path], second: Sequence[Path], size: int) -> list[tuple[Path, Path]]:
    middles: dict[bytes, list[Path]] = defaultdict(list)
    for path in first:
        middles[_middle(path, size)].append(path)
    found = []
    for path in second:
        candidates = middles.get(_middle(path, size), [])
        digest = _digest(path) if candidates else ""
        same = next((other for other in candidates if _digest(other) == digest), None)
        if same is not None:
            found.append((same, path))
    return found


def _middle(path: Path, size: int) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, size // 2 - _PART // 2))
        return file.read(_PART)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
