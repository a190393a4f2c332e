"""Shell completion: the command `completion` prints a script for bash or zsh.

The script contains all commands and arguments, so a completion does not start Python. The arguments come from the
`default.yaml` of the installed Ultralytics, which is read as text, because the import of Ultralytics takes seconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

from yolograft.cli.arguments import UsageError
from yolograft.errors import nearest

__all__ = ["HELP", "SHELLS", "SPEEDS", "run", "script"]

HELP = """\
  yolograft completion bash|zsh                         shell completion: eval "$(yolograft completion bash)\""""
SHELLS = ("bash", "zsh")
_OWN = ("graft", "blocks", "speed")
SPEEDS = ("auto", "stock", "float32", "bfloat16", "resident", "graphed")  # as `fast.modes.MODES`, without importing torch
_FILES = ("model", "data", "source", "to", "blocks")

# bash splits words at '=' and completes the value as a word of its own; `nospace` adds no space after 'key='
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


def run(words: Sequence[str], commands: Iterable[str]) -> int:
    """Print the completion script of a shell for these commands."""
    if len(words) != 1 or words[0] not in SHELLS:
        raise UsageError(f"Which shell? Expected: yolograft completion {'|'.join(SHELLS)}"
                         f"{nearest(words[0], SHELLS) if words else ''}")
    print(script(words[0], commands), end="")
    return 0


def script(shell: str, commands: Iterable[str]) -> str:
    """Return the completion script of a shell in `SHELLS` for these commands."""
    keys = " ".join(f"{key}=" for key in (*_OWN, *(key for key in _arguments() if key not in _OWN)))
    template = {"bash": _BASH, "zsh": _ZSH}[shell]
    return template.format(commands=" ".join(commands), keys=keys, files="|".join(_FILES), speeds=" ".join(SPEEDS))


def _arguments() -> list[str]:
    package = find_spec("ultralytics")  # does not import it
    if package is None or package.origin is None:
        return ["model", "data", "epochs", "imgsz", "batch", "device"]
    text = (Path(package.origin).parent / "cfg" / "default.yaml").read_text(encoding="utf-8")
    return re.findall(r"^(\w+):", text, re.MULTILINE)
