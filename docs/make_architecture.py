"""Draw docs/architecture.svg, the rooms of the package and who imports whom: python docs/make_architecture.py

The arrows are read from the imports of src/yolograft, so that the picture is always true. An arrow is left out where
a path of other arrows says the same, and so are those to the ground, which every room may import.
"""

from __future__ import annotations

import ast
from html import escape
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "yolograft"
FILE = Path(__file__).with_name("architecture.svg")

GROUND = "ground"
ROOMS = {  # room -> its files or folders in src/yolograft, what it is for in two lines, and its place: column, row
    "cli": (("cli",), ("the commands of", "yolograft"), (1.5, 0)),
    "data": (("data",), ("VOC, COCO, LabelMe,", "check, steel set"), (2.95, 5)),
    "report": (("report",), ("a finished study", "as one page"), (1.25, 1)),
    "runner": (("runner",), ("train and evaluate", "one trial"), (2.6, 2)),
    "study": (("study",), ("arms x seeds,", "statistics, verdicts"), (0.35, 2)),
    "analysis": (("analysis",), ("gates, heat maps,", "fold, latency"), (2.9, 3)),
    "host": (("host",), ("grafted models,", "trainers, YOLO"), (1.7, 4)),
    "fast": (("fast",), ("the same training", "in less time"), (1.7, 5)),
    "modelyaml": (("modelyaml",), ("read, write and check", "model YAML files"), (1.25, 6)),
    "attach": (("sites", "attach", "checkpoint", "testing"), ("find sites, attach", "and remove blocks"), (1.7, 7)),
    "modules": (("modules",), ("modules for rows,", "one file per paper"), (0.3, 7)),
    "box_loss": (("box_loss",), ("box losses, as in", "their papers"), (2.65, 7)),
    "blocks": (("blocks",), ("attention blocks,", "one file per paper"), (1.7, 8)),
    GROUND: (("language", "shell", "errors", "system_errors", "upstream", "spec", "yaml_text", "escapes", "atomic",
              "threads",
              "network", "patch", "seeding"),
             ("messages in two languages, errors, escapes, the text of a graft, seeds, atomic writes, threads,",
              "monkey-patches, the list of internals of Ultralytics and PyTorch"), (1.5, 9)),
}
FORWARD = ("host/controls.py", "host/trial.py")  # old import paths, whose bodies import a later room
WIDTH, HEIGHT = 900, 1050
_COLUMN, _ROW, _BOX = 225, 102, (178, 68)  # pixels: from column to column, from row to row, and a box
_STYLE = ("text{font-family:Helvetica,Arial,sans-serif;text-anchor:middle}"
          ".name{font-size:17px;font-weight:bold;fill:#1d2733}"
          ".what{font-size:13px;fill:#45505e}.note{font-size:13px;fill:#45505e;text-anchor:start}"
          "rect{fill:#fff;stroke:#8a94a3;stroke-width:1.3}.ultralytics{fill:#e6f0fb;stroke:#3b6ea8}"
          ".page{fill:#fbfcfd;stroke:none}line{stroke:#6b7686;stroke-width:1.5}.by-name{stroke-dasharray:6 4}"
          "marker path{fill:#6b7686}")


def room_of(path: Path) -> str:
    """Return the room of a file.

    Raises:
        ValueError: the file is in no room; `ROOMS` must name its file or folder.
    """
    top = path.relative_to(SOURCE).with_suffix("").parts[0]
    for name, (members, *_) in ROOMS.items():
        if top in members:
            return name
    raise ValueError(f"{path} is in no room. Add '{top}' to ROOMS in docs/make_architecture.py.")


def imported(path: Path) -> set[str]:
    """Return the top-level packages that a file imports, and `yolograft.X` for those of ours."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            found.add(".".join(parts[:2]) if parts[0] == "yolograft" else parts[0])
    return found


def files() -> list[Path]:
    """Return the files in rooms."""
    others = {SOURCE / name for name in (*FORWARD, "__init__.py", "__main__.py")}
    return [path for path in sorted(SOURCE.rglob("*.py")) if path not in others]


def imports() -> dict[str, set[str]]:
    """Return for each room the other rooms that it imports."""
    found: dict[str, set[str]] = {name: set() for name in ROOMS}
    homes = {member: name for name, (members, *_) in ROOMS.items() for member in members}
    for path in files():
        mine = room_of(path)
        found[mine] |= {homes[name.split(".")[1]] for name in imported(path)
                        if name.startswith("yolograft.") and name.split(".")[1] in homes} - {mine}
    return found


def touching() -> set[str]:
    """Return the rooms that import Ultralytics."""
    return {room_of(path) for path in files() if "ultralytics" in imported(path)}


def reach(graph: dict[str, set[str]], start: str) -> set[str]:
    """Return all rooms that a room imports, directly or through others."""
    found: set[str] = set()
    todo = [start]
    while todo:
        for other in graph[todo.pop()] - found:
            found.add(other)
            todo.append(other)
    return found


def arrows() -> list[tuple[str, str]]:
    """Return the arrows to draw: imports that no path of other imports implies, without those to the ground."""
    graph = {name: others - {GROUND} for name, others in imports().items()}
    return sorted((name, other) for name, others in graph.items() for other in others
                  if not any(other in reach(graph, between) for between in others - {other}))


def by_name() -> list[tuple[str, str]]:
    """Return the rooms that load a module of another room by its import path, a string, without importing it."""
    known, found = {path.relative_to(SOURCE).with_suffix("").as_posix(): path for path in files()}, set()
    for path in files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and str(node.value).startswith("yolograft."):
                target = known.get(str(node.value).removeprefix("yolograft.").replace(".", "/"))
                if target and room_of(target) != room_of(path):
                    found.add((room_of(path), room_of(target)))
    drawn = imports()
    return sorted((one, other) for one, other in found if other not in drawn[one])


def box(name: str) -> tuple[float, float, float, float]:
    """Return a room's left, top, width and height in pixels."""
    column, row = ROOMS[name][2]
    width = WIDTH - 40 if name == GROUND else _BOX[0]
    return WIDTH / 2 + (column - 1.5) * _COLUMN - width / 2, 44 + row * _ROW, width, _BOX[1]


def picture() -> str:
    """Return the picture as SVG."""
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
             'role="img">', "<title>The rooms of yolograft and their imports</title>", f"<style>{_STYLE}</style>",
             '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">'
             '<path d="M0 1 10 5 0 9z"/></marker></defs>', f'<rect class="page" width="{WIDTH}" height="{HEIGHT}"/>']
    for one, other in arrows():
        (x, y, width, height), (to_x, to_y, to_width, _) = box(one), box(other)
        lines.append(f'<line x1="{x + width / 2:g}" y1="{y + height:g}" x2="{to_x + to_width / 2:g}" y2="{to_y - 1:g}" '
                     f'marker-end="url(#tip)"><title>{one} imports {other}</title></line>')
    for one, other in by_name():
        (x, y, width, height), (to_x, to_y, _, to_height) = box(one), box(other)
        lines.append(f'<line class="by-name" x1="{x + width:g}" y1="{y + height / 2:g}" x2="{to_x - 1:g}" '
                     f'y2="{to_y + to_height / 2:g}" marker-end="url(#tip)">'
                     f"<title>{one} loads {other} by name</title></line>")
    blue = touching()
    for name, (_, what, _) in ROOMS.items():
        x, y, width, height = box(name)
        kind = ' class="ultralytics"' if name in blue else ""
        lines.append(f'<rect{kind} x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6"/>')
        for text, down, style in ((name, 23, "name"), (what[0], 42, "what"), (what[1], 58, "what")):
            lines.append(f'<text class="{style}" x="{x + width / 2:g}" y="{y + down:g}">{escape(text)}</text>')
    notes = ("An arrow: imports.", "Dashed: loads by name.", "Blue: imports Ultralytics.", "All import the ground.")
    lines += [f'<text class="note" x="20" y="{28 + 18 * at}">{note}</text>' for at, note in enumerate(notes)]
    return "\n".join([*lines, "</svg>", ""])


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
