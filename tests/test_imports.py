"""The rooms import downwards only, and Ultralytics is imported in host/ and by what uses host/ alone."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "yolograft"
ORDER = ["errors", "spec", "atomic", "threads", "patch", "blocks", "sites", "attach", "checkpoint", "testing", "data",
         "host", "inspect", "study", "report", "demo", "cli"]
FILES = sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", [f for f in FILES if room(f) in ORDER], ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_point_down_the_list(path: Path) -> None:
    level = ORDER.index(room(path))
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "yolograft" and len(parts) > 1 and parts[1] in ORDER:
            assert ORDER.index(parts[1]) <= level, f"{path.name} ({room(path)}) imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda f: str(f.relative_to(SOURCE)))
def test_ultralytics_is_imported_in_host_alone(path: Path) -> None:
    touches = any(name.split(".")[0] == "ultralytics" for name in imported(path))
    assert not touches or room(path) == "host"


@pytest.mark.parametrize("name", ["errors.py", "spec.py", "atomic.py", "threads.py", "patch.py", "cli.py", "__init__.py"])
def test_light_rooms_import_no_torch(name: str) -> None:
    assert not any(i.split(".")[0] in ("torch", "numpy", "ultralytics") for i in imported(SOURCE / name, True))
