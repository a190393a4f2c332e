"""The completion scripts: the words they offer, whether a shell accepts them, and that printing one imports no torch."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from yolograft.cli import COMMANDS, completion, main
from yolograft.cli.modes import MODES
from yolograft.fast.modes import MODES as SPEEDS

PRESS = """
{script}
COMP_WORDS=({words}); COMP_CWORD={at}
compopt() {{ :; }}
_yolograft
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize(
    ("words", "at", "offered"),
    [
        ("yolograft st", 1, ["study", "status"]),
        ("yolograft train ep", 2, ["epochs="]),
        ("yolograft train gra", 2, ["graft="]),
        ("yolograft train speed =", 3, list(SPEEDS)),
        ("yolograft train speed = st", 4, ["stock"]),
        ("yolograft train speed = g", 4, ["graphed"]),
    ],
)
def test_bash_offers_matching_words(words: str, at: int, offered: list[str], tmp_path: Path) -> None:
    text = completion.script("bash", (*MODES, *COMMANDS))
    code = PRESS.format(script=text, words=" ".join(f'"{word}"' for word in words.split()), at=at)
    result = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stderr == ""
    assert result.stdout.split() == offered


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_command_and_argument_is_offered(shell: str) -> None:
    from ultralytics.utils import DEFAULT_CFG_DICT

    text = completion.script(shell, (*MODES, *COMMANDS))
    assert all(f" {key}=" in text for key in (*DEFAULT_CFG_DICT, "blocks", "speed"))
    assert " ".join((*MODES, *COMMANDS)) in text


def test_every_speed_is_offered() -> None:
    assert completion.SPEEDS == SPEEDS
    assert f"compadd -- {' '.join(SPEEDS)}\n" in completion.script("zsh", MODES)


@pytest.mark.skipif(not shutil.which("zsh"), reason="needs zsh")
def test_zsh_accepts_its_script() -> None:
    text = completion.script("zsh", MODES)
    assert subprocess.run(["zsh", "-n"], input=text, text=True, capture_output=True, check=False).returncode == 0


def test_printing_imports_neither_torch_nor_numpy() -> None:
    code = ("import sys; from yolograft.cli import main; code = main(['completion', 'bash']); "
            "sys.exit(code or any(name in sys.modules for name in ('torch', 'numpy', 'yaml', 'ultralytics')))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("words", [["completion"], ["completion", "bsh"], ["completion", "bash", "zsh"]])
def test_an_unknown_shell_is_an_error(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "bash|zsh" in capsys.readouterr().err
