"""Build the wheel and the sdist, install each without a compiler, and run the main commands from it.

    python .ci/smoke.py [OUTPUT FOLDER]

Both are built without network, with the installed `build` and `hatchling`. The sdist is built into a second wheel, whose
content must be equal. Each wheel is installed without its dependencies into a folder of its own, which then comes first on
the path. With C compilers that fail, it prints its version, checks a model YAML, lists sites, makes a data set, trains one
epoch on it, and reports a study.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(words: list[str], *, cwd: Path, path: Path | None = None) -> str:
    """Run a command, with `path` first in PYTHONPATH, and return what it printed; ends the program if it fails."""
    variables = {**os.environ, "CC": "false", "CXX": "false", "YOLO_OFFLINE": "True", "YOLOGRAFT_LANG": "en",
                 "YOLO_CONFIG_DIR": str(cwd), "XDG_CACHE_HOME": str(cwd / "cache"), "YOLOGRAFT_REGISTER": "off",
                 "PYTHONPATH": str(path or "")}
    done = subprocess.run(words, cwd=cwd, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False)
    if done.returncode:
        sys.exit(f"failed: {' '.join(words)}\n{done.stdout}")
    return done.stdout


def build(output: Path) -> tuple[Path, Path]:
    """Build a wheel and an sdist from the checkout, and return their paths."""
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(output), str(ROOT)], cwd=output)
    (wheel,), (sdist,) = output.glob("*.whl"), output.glob("*.tar.gz")
    return wheel, sdist


def wheel_of(sdist: Path, output: Path) -> Path:
    """Build a wheel from an sdist."""
    run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", str(output), str(sdist)],
        cwd=output)
    (wheel,) = output.glob("*.whl")
    return wheel


def files_of(wheel: Path) -> dict[str, int]:
    """Return the checksum of each file in a wheel. A wheel's own list of files is left out: it names the others."""
    with zipfile.ZipFile(wheel) as opened:
        return {one.filename: one.CRC for one in opened.infolist() if not one.filename.endswith("RECORD")}


def check_wheel(wheel: Path) -> None:
    """Check that a wheel is for every platform and has all files of the package."""
    found = files_of(wheel)
    package = ROOT / "src"
    expected = {path.relative_to(package).as_posix() for path in package.rglob("*")
                if path.is_file() and "__pycache__" not in path.parts}
    missing = sorted(expected - set(found))
    compiled = [name for name in found if name.endswith((".so", ".pyd", ".dll", ".dylib", ".o", ".pyc"))]
    if not wheel.name.endswith("-py3-none-any.whl") or missing or compiled:
        sys.exit(f"{wheel.name}: missing {missing}, compiled {compiled}")


def try_wheel(wheel: Path, scratch: Path) -> None:
    """Install a wheel into a folder, and run the main commands from there."""
    place, work = scratch / "installed", scratch / "work"
    work.mkdir(parents=True)
    run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(place), str(wheel)],
        cwd=work)
    ours = [sys.executable, "-m", "yolograft"]
    version = wheel.name.split("-")[1]
    where = run([sys.executable, "-c", "import yolograft; print(yolograft.__file__)"], cwd=work, path=place)
    if not where.startswith(str(place)) or version not in run([*ours, "--version"], cwd=work, path=place):
        sys.exit(f"not {version} from {place}: {where}")
    run([*ours, "lint", "yolo11-se.yaml"], cwd=work, path=place)
    run([*ours, "sites", "model=yolo11n.yaml"], cwd=work, path=place)
    run([*ours, "data", "steel", "steel", "images=30", "size=64"], cwd=work, path=place)
    run([*ours, "data", "check", "steel/steel.yaml"], cwd=work, path=place)
    run([*ours, "train", "model=yolo11n.yaml", "graft=se@8", "data=steel/steel.yaml", "epochs=1", "imgsz=64", "batch=2",
         "workers=0", "project=runs", "name=smoke", "plots=False"], cwd=work, path=place)
    if not list(work.glob("**/smoke/weights/last.pt")):
        sys.exit("the training wrote no checkpoint")
    run([*ours, "study", "host=yolograft.study.dummy", "data=steel", "model=yolo11n.pt", "arms=none; se@8", "seeds=6",
         "epochs=2", "name=study"], cwd=work, path=place)
    run([*ours, "report", "runs/study/study"], cwd=work, path=place)  # needs the templates


def main(words: list[str]) -> None:
    """Build, compare and try; the files remain in the folder that is named."""
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        output = Path(words[0]).resolve() if words else base / "dist"
        output.mkdir(parents=True, exist_ok=True)
        (base / "from-sdist").mkdir()
        wheel, sdist = build(output)
        second = wheel_of(sdist, base / "from-sdist")
        check_wheel(wheel)
        if differing := set(files_of(wheel).items()) ^ set(files_of(second).items()):
            sys.exit(f"the wheel and the sdist differ: {sorted(differing)}")
        for name, one in (("wheel", wheel), ("sdist", second)):
            try_wheel(one, base / name)
            print(f"{name}: {one.name} installs and runs")


if __name__ == "__main__":
    main(sys.argv[1:])
