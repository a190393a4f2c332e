"""Compare the messages in the code with the Chinese catalogue: python docs/make_messages.py [--write]

Prints each message that has no translation. With --write, it adds these with an empty text to translate, removes messages
that no code uses, and sorts the catalogue.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "yolograft"
CATALOGUE = PACKAGE / "locale" / "zh.json"


def calls(path: Path) -> list[ast.Call]:
    """Return every call of `tr` in a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "tr"]


def messages() -> set[str]:
    """Return every message in the code, and the texts of the blocks and of the modules for rows."""
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for call in calls(path):
            text = call.args[0] if call.args else None
            if not isinstance(text, ast.Constant) or not isinstance(text.value, str):
                raise SystemExit(f"{path.name}:{call.lineno}: the message of tr() must be a literal text")
            found.add(text.value)
    return found | block_texts() | module_texts()


def block_texts() -> set[str]:
    """Return the texts of the blocks that `translate` is asked for, read from the code, so that torch is not imported.

    A class with `about` has them: its `use` and `kind`, the first paragraph of its docstring, and its settings' meanings.
    """
    found = set()
    for path in sorted((PACKAGE / "blocks").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef):
                continue
            abouts = [one.value for one in node.body
                      if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "about"]
            if not abouts or not isinstance(abouts[0], ast.Call):
                continue
            found |= {word.value.value for word in abouts[0].keywords
                      if word.arg in ("use", "kind") and isinstance(word.value, ast.Constant)}
            found |= docstring_texts(node)
    return found


def module_texts() -> set[str]:
    """Return the texts of the modules for rows: those of each class with the decorator `module`."""
    found = set()
    for path in sorted((PACKAGE / "modules").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            decorators = getattr(node, "decorator_list", [])
            if any(isinstance(one, ast.Call) and ast.unparse(one.func) == "module" for one in decorators):
                found |= docstring_texts(node)
    return found


def docstring_texts(node: ast.ClassDef) -> set[str]:
    """Return the first paragraph of a class's docstring, and the meaning of each setting."""
    body, _, arguments = (ast.get_docstring(node) or "").partition("Args:\n")
    listed = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", arguments, flags=re.MULTILINE)
    return {" ".join(body.partition("\n\n")[0].split()),
            *(" ".join(text.split()) for name, text in listed if name != "channels")}


def main() -> None:
    """Print what the catalogue lacks; rewrite it on request."""
    known: dict[str, str] = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    used = messages()
    for message in sorted(used):
        if not known.get(message):
            print(f"not translated: {message!r}")
    for message in sorted(set(known) - used):
        print(f"not used: {message!r}")
    if "--write" in sys.argv:
        merged = {message: known.get(message, "") for message in sorted(used)}
        CATALOGUE.write_text(json.dumps(merged, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
