"""Shell completion: the command `completion` prints a script for bash or zsh.

The script contains all commands and arguments, so a completion does not start Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from yolograft.cli import ultralytics_arguments
from yolograft.cli.arguments import UsageError
from yolograft.cli.command import Command
from yolograft.errors import nearest
from yolograft.language import tr

__all__ = ["SHELLS", "SPEEDS", "commands", "run", "script"]

SHELLS = ("bash", "zsh")
_OWN = ("graft", "swap", "blocks", "modules", "replace", "allow_download", "speed")
SPEEDS = ("auto", "stock", "float32", "bfloat16", "resident", "graphed")  # as `fast.modes.MODES`, without importing torch
_FILES = ("model", "data", "source", "to", "blocks", "modules")

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


def commands() -> list[Command]:
    """Return the description of the command."""
    return [Command(name="completion", summary=tr("print the completion script of a shell"), usage="|".join(SHELLS),
                    arguments=[], example='eval "$(yolograft completion bash)"')]


def run(words: Sequence[str], names: Iterable[str]) -> int:
    """Print the completion script of a shell for these commands."""
    if len(words) != 1 or words[0] not in SHELLS:
        raise UsageError(tr("Which shell? Expected: {usage}", usage=f"yolograft completion {'|'.join(SHELLS)}")
                         + (nearest(words[0], SHELLS) if words else ""))
    print(script(words[0], names), end="")
    return 0


def script(shell: str, names: Iterable[str]) -> str:
    """Return the completion script of a shell in `SHELLS` for these commands."""
    keys = " ".join(f"{key}=" for key in (*_OWN, *(key for key in ultralytics_arguments.names() if key not in _OWN)))
    template = {"bash": _BASH, "zsh": _ZSH}[shell]
    return template.format(commands=" ".join(names), keys=keys, files="|".join(_FILES), speeds=" ".join(SPEEDS))
