"""Which names of ours a checkpoint's pickle imports, found without running it."""

import pickletools
import zipfile
from pathlib import Path


def names_in(file: Path) -> set[str]:
    """Return `module:name` of everything of yolograft that a checkpoint names."""
    with zipfile.ZipFile(file) as packed:
        content = packed.read(next(name for name in packed.namelist() if name.endswith("/data.pkl")))
    found, texts = set(), [""]
    for code, value, _ in pickletools.genops(content):
        if code.name == "GLOBAL":
            found.add(value.replace(" ", ":"))
        elif code.name == "STACK_GLOBAL":
            found.add(":".join(texts[-2:]))
        elif isinstance(value, str):
            texts.append(value)
    return {name for name in found if name.startswith("yolograft")}
