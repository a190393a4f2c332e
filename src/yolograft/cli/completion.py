"""Shell completion: a script for bash or zsh, printed once, that holds its words and so answers without starting Python.

The arguments offered are those of the installed Ultralytics, read off its `default.yaml` as text: importing it takes
seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

__all__ = ["SHELLS", "SPEEDS", "script"]

SHELLS = ("bash", "zsh")
_OWN = ("graft", "blocks", "speed")
SPEEDS = ("auto", "stock", "float32", "bfloat16", "resident", "graphed")  # `host.speed.MODES`, without its torch
_FILES = ("model", "data", "source", "to", "blocks")

# Words are split at '=' by bash, so that a value is completed by itself; `=` stays with its key, without a space.
_BASH = """\
_yolograft() {{
    local current="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" key=""
    if [[ $current == "=" ]]; then key=$before; current=""
    elif [[ $before == "=" ]]; then key="${{COMP_WORDS[COMP_CWORD-2]}}"; fi
    if [[ -n $key ]]; then
        case $key in
            speed) COMPREPLY=($(compgen -W "{speeds}" -- "$current")) ;;
            {files}) compopt -o filenames; COMPREPLY=($(compgen -f -- "$current")) ;;
        esac
    elif (( COMP_CWORD == 1 )); then
        COMPREPLY=($(compgen -W "{commands}" -- "$current"))
    else
        compopt -o nospace
        COMPREPLY=($(compgen -W "{keys}" -- "$current") $(compgen -f -- "$current"))
    fi
}}
complete -F _yolograft yolograft
"""
_ZSH = """\
#compdef yolograft
_yolograft() {{
    if (( CURRENT == 2 )); then
        compadd -- {commands}
    elif [[ $PREFIX == speed=* ]]; then
        compset -P '*='; compadd -- {speeds}
    elif [[ $PREFIX == ({files})=* ]]; then
        compset -P '*='; _files
    elif [[ $PREFIX != *=* ]]; then
        compadd -S '' -- {keys}; _files
    fi
}}
compdef _yolograft yolograft
"""


def script(shell: str, commands: Iterable[str]) -> str:
    """Return the completion script of a shell in `SHELLS` for these commands."""
    keys = " ".join(f"{key}=" for key in (*_OWN, *(key for key in _arguments() if key not in _OWN)))
    form = {"bash": _BASH, "zsh": _ZSH}[shell]
    return form.format(commands=" ".join(commands), keys=keys, files="|".join(_FILES), speeds=" ".join(SPEEDS))


def _arguments() -> list[str]:
    found = find_spec("ultralytics")  # finds a package without importing it
    if found is None or found.origin is None:
        return ["model", "data", "epochs", "imgsz", "batch", "device"]
    text = (Path(found.origin).parent / "cfg" / "default.yaml").read_text(encoding="utf-8")
    return re.findall(r"^(\w+):", text, re.MULTILINE)
