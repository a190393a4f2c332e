"""Run the code blocks of a README from top to bottom, as someone who pastes them.

    python docs/run_readme.py README.md FOLDER

FOLDER is new. `NEU-DET.zip` and `yolo11n.pt` are linked into it from YOLOGRAFT_DATA, or from the folder shared/data beside
the checkout. The trainings are cut as SUBSTITUTIONS says. The blocks become one bash script, FOLDER/readme.sh, which stops
at the first command that fails.

    --whole      trains the study's trials; without it, they only run the dummy host
    --install    also runs the block that installs yolograft, from this checkout; without it, yolograft must be installed
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_SMALL = "fraction=0.02 batch=8 workers=0 device=cpu speed=stock plots=False"
# What the README says, and what is run: the same commands with less training. Each must occur in the README.
SUBSTITUTIONS = {
    "epochs=100 imgsz=640": f"epochs=1 imgsz=64 {_SMALL}",
    "epochs=100, imgsz=640": ('epochs=1, imgsz=64, fraction=0.02, batch=8, workers=0, device="cpu", speed="stock", '
                              "plots=False"),
    "seeds=6 epochs=50": "seeds=2 epochs=1 imgsz=64 fraction=0.02 batch=8",
    'graft="se@8; se@C3k2"': 'graft="se@8; se@C3k2" imgsz=64 repeats=2',
}
_DUMMY = "host=yolograft.study.dummy"
INSTALL = "pip install ."


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the language and the code of each block of bash and Python."""
    return re.findall(r"^```(bash|python)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def shell_script(text: str, *, whole: bool, install: bool) -> str:
    """Return the blocks of a README as one bash script. A Python block whose first line names a file becomes that file."""
    lines = ["set -euo pipefail"]
    for language, code in blocks(text):
        if INSTALL in code:
            lines += [code.replace(INSTALL, f"pip install {shlex.quote(str(ROOT))}")] if install else []
            continue
        for said, run in SUBSTITUTIONS.items():
            code = code.replace(said, run if whole or "seeds=" not in said else run.partition(" fraction")[0] + f" {_DUMMY}")
        if language == "bash":
            lines.append(code)
        else:
            file = re.match(r"# (\w+\.py)\n", code)
            lines.append(f"{f'cat > {file[1]}' if file else 'python -'} <<'END_OF_BLOCK'\n{code}END_OF_BLOCK\n")
    return "\n".join(lines)


def prepare(folder: Path, data: Path) -> None:
    """Make the folder and link the data set and the weights into it."""
    folder.mkdir(parents=True)
    for file in (data / "NEU-DET.zip", data / "weights" / "yolo11n.pt"):
        if not file.is_file():
            raise SystemExit(f"{file} does not exist. Set YOLOGRAFT_DATA to the folder that has it.")
        (folder / file.name).symlink_to(file)


def main() -> int:
    """Run a README; returns the exit code of its script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readme", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--install", action="store_true")
    arguments = parser.parse_args()
    prepare(arguments.folder, Path(os.environ.get("YOLOGRAFT_DATA") or ROOT.parent / "shared" / "data").resolve())
    script = arguments.folder / "readme.sh"
    script.write_text(shell_script(arguments.readme.read_text(encoding="utf-8"), whole=arguments.whole,
                                   install=arguments.install), encoding="utf-8")
    return subprocess.run(["bash", "-x", script.name], cwd=arguments.folder, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
