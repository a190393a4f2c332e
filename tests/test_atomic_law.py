"""Every file of the package is written through `atomic_write`, or is in the list of exceptions with a reason."""

import ast
from collections import Counter
from pathlib import Path

from faults import EXCEPTIONS

SOURCE = Path(__file__).resolve().parents[1] / "src" / "yolograft"
_METHODS = {"write_text", "write_bytes", "extractall", "extract", "savefig", "symlink_to", "copyfile", "copy", "copytree",
            "copy2", "move", "imwrite", "save_file", "savez", "savez_compressed", "to_csv"}
_OF_MODULE = {"extract": "archive", "save_file": "", "copyfile": "shutil", "copy": "shutil",
              "copytree": "shutil", "copy2": "shutil", "move": "shutil",
              "imwrite": "cv2", "savez": "np", "savez_compressed": "np"}
_SAVERS = {("np", "save"), ("torch", "save"), ("os", "replace"), ("os", "rename"), ("zipfile", "ZipFile")}


def writes(node):
    """Whether a call writes a file."""
    function = node.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = function.value.id if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) else ""
    if (owner, name) in _SAVERS:
        modes = [one.value for one in node.args[1:2] if isinstance(one, ast.Constant)]
        return name != "ZipFile" or bool(modes and set(modes[0]) & set("wax"))
    if (owner, name) == ("os", "open"):
        return "O_CREAT" in ast.unparse(node)
    if name == "open":
        modes = [one.value for one in [*node.args, *(one.value for one in node.keywords if one.arg == "mode")]
                 if isinstance(one, ast.Constant) and isinstance(one.value, str) and len(one.value) <= 3]
        return any(set(mode) & set("wax+") for mode in modes)
    return name in _METHODS and owner == _OF_MODULE.get(name, owner)


def direct_writes(text):
    """Yield the function and line of each call that writes a file outside of a function with a parameter `part`.

    Such a function is what `atomic_write` calls with the path of the temporary file.
    """
    def visit(node, function, is_part):
        if isinstance(node, (ast.FunctionDef, ast.Lambda)):
            is_part = is_part or "part" in [one.arg for one in node.args.args]
            function = getattr(node, "name", function)
        if isinstance(node, ast.Call) and writes(node) and not is_part:
            yield function, node.lineno
        for child in ast.iter_child_nodes(node):
            yield from visit(child, function, is_part)

    yield from visit(ast.parse(text), "", False)


def test_files_are_written_atomically_or_for_a_reason():
    found = Counter()
    places = {}
    for path in sorted(SOURCE.rglob("*.py")):
        file = path.relative_to(SOURCE).as_posix()
        for function, line in direct_writes(path.read_text(encoding="utf-8")):
            found[file, function] += 1
            places.setdefault((file, function), f"src/yolograft/{file}:{line}")
    known = {(one.file, one.function) for one in EXCEPTIONS}
    new = [places[one] for one in found if one not in known]
    assert not new, f"use atomic_write, or add an entry with a reason to EXCEPTIONS in tests/faults.py: {new}"
    assert not known - set(found), "an entry of EXCEPTIONS has no such call any more"


def test_the_check_finds_what_it_is_for():
    text = ("def f():\n path.write_text('x')\n open(p, 'w')\n p.open('ab')\n np.save(p, x)\n torch.save(x, p)\n"
            " os.replace(a, b)\n cv2.imwrite(p, x)\n shutil.copyfile(a, b)\n table.to_csv(p)\n"
            " os.open(p, os.O_WRONLY | os.O_CREAT)\n")
    assert [line for _, line in direct_writes(text)] == list(range(2, 12))
    fine = ("atomic_write(p, lambda part: part.write_text('x'))\n"
            "def write(part):\n with part.open('wb') as f:\n  np.save(f, x)\n"
            "open(p)\nos.open(p, os.O_RDONLY)\np.open('rb')\narray.copy()\nzipfile.ZipFile(p)\n")
    assert list(direct_writes(fine)) == []
