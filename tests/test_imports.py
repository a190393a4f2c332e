"""What each room may import: the rooms stand in the order of docs/architecture.md, and imports point to earlier ones."""

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "yolograft"
# Rooms from the ground up. A room imports itself and the rooms before it.
ORDER = ["language", "shell", "errors", "system_errors", "upstream", "spec", "yaml_text", "escapes", "atomic",
         "threads", "network",
         "patch", "seeding", "box_loss",
         "blocks", "modules", "sites", "attach", "checkpoint", "testing",
         "data", "modelyaml", "fast", "host", "analysis", "study",
         "runner", "report", "cli"]
APART = {("study", "runner"), ("runner", "study")}  # a study is handed what trains its trials
TORCHLESS = {"language", "shell", "errors", "system_errors", "upstream", "spec", "yaml_text", "escapes", "atomic",
         "threads", "network",
             "patch", "data",
             "study"}
ULTRALYTICS = {"host", "fast", "runner", "analysis"}
CATALOG = SOURCE / "modelyaml" / "catalog.py"  # tells what the installed Ultralytics has, for reading model YAML files
MOVED = {SOURCE / "host" / "controls.py", SOURCE / "host" / "trial.py"}  # old paths, which stored files name
FILES = sorted(path for path in SOURCE.rglob("*.py") if path not in MOVED)
PACKAGE = {SOURCE / "__init__.py", SOURCE / "__main__.py"}


def room(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import, which this test does not follow"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules(path: Path) -> set[Path]:
    """Return the files of this package that a file imports, at whatever place in it."""
    names = {name for name in imported(path) if name.startswith("yolograft.")}
    found = set()
    for name in names:
        base = SOURCE.joinpath(*name.split(".")[1:])
        if base.with_suffix(".py").is_file():
            found.add(base.with_suffix(".py"))
        elif (base / "__init__.py").is_file() and not any(
                file_of(other) for other in names if other.startswith(f"{name}.")):
            found.add(base / "__init__.py")  # `from package import submodule` needs nothing of the package itself
    return found - {path}


def file_of(name: str) -> bool:
    base = SOURCE.joinpath(*name.split(".")[1:])
    return base.with_suffix(".py").is_file() or (base / "__init__.py").is_file()


def name_of(path: Path) -> str:
    return str(path.relative_to(SOURCE))


def test_every_file_is_in_a_room() -> None:
    assert {room(path) for path in FILES if path not in PACKAGE} == set(ORDER)


@pytest.mark.parametrize("path", [path for path in FILES if path not in PACKAGE], ids=name_of)
def test_imports_point_to_earlier_rooms(path: Path) -> None:
    level = ORDER.index(room(path))
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "yolograft" and len(parts) > 1 and parts[1] in ORDER:
            assert ORDER.index(parts[1]) <= level, f"{name_of(path)} imports {name}, a later room"
            assert (room(path), parts[1]) not in APART, f"{name_of(path)} imports {name}"


def test_no_file_imports_itself_through_others() -> None:
    graph = {path: modules(path) & set(FILES) for path in FILES}
    done: set[Path] = set()

    def visit(path: Path, trail: tuple[Path, ...]) -> None:
        assert path not in trail, "a circle of imports: " + " -> ".join(map(name_of, (*trail[trail.index(path):], path)))
        if path not in done:
            for other in sorted(graph[path]):
                visit(other, (*trail, path))
            done.add(path)

    for path in FILES:
        visit(path, ())


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_ultralytics_is_imported_where_the_design_says(path: Path) -> None:
    touches = any(name.split(".")[0] == "ultralytics" for name in imported(path))
    assert not touches or room(path) in ULTRALYTICS or path == CATALOG


@pytest.mark.parametrize("path", [path for path in FILES if room(path) in TORCHLESS], ids=name_of)
def test_rooms_without_torch(path: Path) -> None:
    assert not any(name.split(".")[0] in ("torch", "torchvision") for name in imported(path))


@pytest.mark.parametrize("path", [path for path in FILES if room(path) == "cli"] + sorted(PACKAGE), ids=name_of)
def test_the_command_line_starts_without_torch(path: Path) -> None:
    assert not any(name.split(".")[0] in ("torch", "numpy", "ultralytics") for name in imported(path, True))
