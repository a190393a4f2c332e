"""Write docs/upstream.md, what yolograft needs of Ultralytics and PyTorch: python docs/make_upstream.py"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from yolograft.upstream import INTERNALS, Internal

FILE = Path(__file__).with_name("upstream.md")

HEAD = """# What yolograft needs of Ultralytics and PyTorch

`python docs/make_upstream.py` writes this page from the list in `src/yolograft/upstream.py`. Do not edit it by hand.

- **patched**: yolograft replaces it during a call and restores it afterwards (`patch.py`), or replaces it on an object
  that belongs to one training.
- **overridden**: a subclass of yolograft overrides it.
- **relied on**: yolograft calls it, or depends on how it works.

`tests/test_0_upstream.py` is the first test file, and its failures are listed before all others. It checks every entry
against the installed packages: the name exists, its signature has the parameters, and its source has the lines that
yolograft depends on. Run it first when a new version of Ultralytics or PyTorch comes out:

```bash
pip install -U ultralytics && python -m pytest tests/test_0_upstream.py
```

A failure names the internal that changed, the version, and the file of yolograft to look at. The same test file fails if
code imports, patches or overrides something that is not in the list.
"""

TABLE = """
## {room}

| internal | kind | our files | versions | why | if it changes |
|---|---|---|---|---|---|
"""


def room(internal: Internal) -> str:
    """Return the room of the file to look at: its folder, or the file itself."""
    folder = str(Path(internal.files[0]).parent.as_posix())
    return internal.files[0] if folder == "." else f"{folder}/"


def row(internal: Internal) -> str:
    """Return one line of a table."""
    name = " or ".join(f"`{place}`" for place in internal.name.split(" or "))
    files = ", ".join(f"`{file}`" for file in dict.fromkeys(internal.files))
    return f"| {name} | {internal.kind} | {files} | {internal.versions} | {internal.why} | {internal.breaks} |\n"


def page() -> str:
    """Return the whole page."""
    tables = (TABLE.format(room=name) + "".join(map(row, group))
              for name, group in groupby(sorted(INTERNALS, key=room), room))
    return HEAD + "".join(tables)


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
