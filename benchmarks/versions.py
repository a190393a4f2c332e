"""Run the tests on several versions of Ultralytics, PyTorch and Python, and write docs/versions.md.

    python benchmarks/versions.py [only=NAME,...] [tests=smoke|upstream|all] [folder=FOLDER] [again=True] [strict=True]
    python benchmarks/versions.py page=True          # only write the page, from the records

It needs `uv` (`pip install uv`). An environment is made once, in FOLDER, and kept. Each test file runs in a process of its
own, and its result is recorded at once in docs/results/versions.json. So the same command continues where it was stopped.
`again=True` runs recorded files again. With `strict=True`, failures and missing environments end it with exit code 1. The
environments:

    lowest        all lower bounds of pyproject.toml, in a virtual environment
    newest        the newest versions of everything, in a virtual environment
    newest-3.13   the same on Python 3.13, if `python3.13` is installed (or runs this script, with only=newest-3.13)
    8.3.0, ...    this version of Ultralytics beside the packages of the running Python
    this          the running Python as it is

`upstream` is the list of .ci/run: the tests of everything that touches Ultralytics. `smoke` is the part of it that takes a
few minutes.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "docs" / "results" / "versions.json"
PAGES = {"en": ROOT / "docs" / "versions.md", "zh": ROOT / "docs" / "versions.zh-CN.md"}
BEGIN, END = "<!-- table -->", "<!-- end of table -->"

OVERLAYS = ("8.3.0", "8.3.60", "8.3.120", "8.3.200", "8.4.60")  # versions of Ultralytics
# 8.3 imports pandas, and calls np.trapz, which newer versions of NumPy lack
OVERLAY_PACKAGES = ("numpy==2.2.6", "pandas==2.3.3", "pytz", "tzdata", "seaborn", "py-cpuinfo")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# torchvision is no dependency of ours; without this, the newest would be chosen, which needs the newest PyTorch
LOWEST_WITH = ("torchvision==0.17.0",)
SOURCES = ("grad-cam",)  # packages without a wheel on PyPI; everything else must install without a compiler
SMOKE = ("test_0_upstream.py", "test_attach.py", "test_golden.py", "test_host_data_download.py",
         "test_host_half_precision.py", "test_host_models.py", "test_host_mosaic.py", "test_host_transfer.py",
         "test_modelyaml_table.py", "test_runner_sampler.py", "test_runner_trainer.py", "test_sites.py")
SHOWN = ("ultralytics", "torch", "torchvision", "numpy", "scipy", "opencv-python", "optuna")


def environments() -> list[str]:
    """Return the names of all environments."""
    return ["lowest", *OVERLAYS, "newest", *(f"newest-{one}" for one in PYTHONS if one != _python()), "this"]


def _python() -> str:
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def test_files(which: str) -> list[str]:
    """Return the names of the test files of `smoke`, `upstream` or `all`."""
    if which == "smoke":
        return list(SMOKE)
    if which == "all":
        return sorted(path.name for path in (ROOT / "tests").glob("test_*.py"))
    if which != "upstream":
        sys.exit(f"tests={which}: expected smoke, upstream or all")
    patterns = re.findall(r"tests/(test_\S+\.py)", (ROOT / ".ci" / "run").read_text(encoding="utf-8"))
    return sorted({path.name for pattern in patterns for path in (ROOT / "tests").glob(pattern)})


def make(name: str, folder: Path) -> tuple[str, dict[str, str]] | str:
    """Make an environment if it is not there.

    Returns:
        Its Python and the variables to run it with, or the reason why it cannot be made.
    """
    place = folder / name
    done = place / "made"
    if name == "this":
        return sys.executable, {}
    if name in OVERLAYS:
        if not done.exists():
            _uv("pip", "install", "--no-deps", "--python", sys.executable, "--target", str(place), f"ultralytics=={name}",
                *OVERLAY_PACKAGES)
            done.touch()
        return sys.executable, {"PYTHONPATH": str(place), "YOLOGRAFT_EXPECT_ULTRALYTICS": name}
    version = name.partition("-")[2] or _python()
    interpreter = sys.executable if version == _python() else shutil.which(f"python{version}")
    if interpreter is None:
        return f"python{version} is not installed"
    python = str(place / "bin" / "python")
    if not done.exists():
        shutil.rmtree(place, ignore_errors=True)
        _uv("venv", "--python", interpreter, str(place))
        options = ["--resolution", "lowest-direct"] if name == "lowest" else []
        with tempfile.TemporaryDirectory() as scratch:
            fixed = Path(scratch, "constraints.txt")
            fixed.write_text("\n".join(LOWEST_WITH if name == "lowest" else ()), encoding="utf-8")
            _uv("pip", "install", "--python", python, *options, "-r", str(ROOT / "pyproject.toml"), "--extra", "dev",
                "-c", str(fixed), "--only-binary", ":all:", *(word for one in SOURCES for word in ("--no-binary", one)))
        done.touch()
    return python, {}


def _uv(*words: str) -> None:
    found = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if found is None:
        sys.exit("uv is not installed: pip install uv")
    subprocess.run([found, *words], check=True)


def run_file(python: str, name: str, variables: Mapping[str, str], scratch: Path) -> dict[str, Any]:
    """Run one test file and return its counts, seconds and the names of the failed tests."""
    result = scratch / "result.xml"
    result.unlink(missing_ok=True)
    paths = [one for one in (variables.get("PYTHONPATH"), str(ROOT / "src")) if one]
    started = time.monotonic()
    ended = subprocess.run([python, "-m", "pytest", f"tests/{name}", "-n", "0", "-p", "no:cacheprovider",
                            f"--junitxml={result}"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(paths), "YOLO_OFFLINE": "True",
                                "YOLO_CONFIG_DIR": str(scratch)})
    seconds = round(time.monotonic() - started)
    if not result.exists():  # pytest itself failed
        return {"passed": 0, "failed": 1, "skipped": 0, "seconds": seconds, "failures": [ended.stdout[-2000:]]}
    suite = ET.parse(result).getroot()[0]
    count = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    names = [f"{case.get('name')}: {' '.join((child.get('message') or '').split())[:200]}" for case in suite.iter("testcase")
             for child in case if child.tag in ("failure", "error")]
    return {"passed": count["tests"] - failed - count["skipped"], "failed": failed, "skipped": count["skipped"],
            "seconds": seconds, **({"failures": names} if names else {})}


def versions_of(python: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Return the versions of Python and of the packages that an environment imports."""
    code = ("import json, platform, ultralytics\nfrom importlib.metadata import PackageNotFoundError, version\n"
            "found = {'python': platform.python_version()}\n"
            f"for name in {SHOWN!r}:\n"
            "    try: found[name] = version(name)\n"
            "    except PackageNotFoundError: pass\n"
            "print(json.dumps({**found, 'ultralytics': ultralytics.__version__}))")
    with tempfile.TemporaryDirectory() as scratch:
        text = subprocess.run([python, "-c", code], check=True, stdout=subprocess.PIPE, text=True,
                              env={**os.environ, **variables, "YOLO_OFFLINE": "True", "YOLO_CONFIG_DIR": scratch}).stdout
    found: dict[str, str] = json.loads(text.strip().splitlines()[-1])
    return found


def read_records() -> dict[str, Any]:
    """Return what was run: environment -> its versions and files, or the reason why it could not be made."""
    return json.loads(RECORDS.read_text(encoding="utf-8")) if RECORDS.exists() else {}


def write_records(records: Mapping[str, Any]) -> None:
    """Write the records in one step."""
    order = {name: records[name] for name in environments() if name in records}
    others = {name: value for name, value in records.items() if name not in order}
    part = RECORDS.with_suffix(".part")
    part.write_text(json.dumps({**order, **others}, indent=1) + "\n", encoding="utf-8")
    os.replace(part, RECORDS)


def run(names: Sequence[str], tests: Sequence[str], folder: Path, again: bool) -> None:
    """Run test files in environments, and record each result."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        made = make(name, folder)
        if isinstance(made, str):
            print(f"{name}: {made}")
            write_records({**read_records(), name: {"date": str(date.today()), "missing": made}})
            continue
        python, variables = made
        versions = versions_of(python, variables)
        known = read_records().get(name, {})
        if again or known.get("versions") != versions:
            known = {}
        for test in tests:
            if test in known.get("files", {}):
                continue
            with tempfile.TemporaryDirectory() as scratch:
                found = run_file(python, test, variables, Path(scratch))
            print(f"{name}: {test}: {found}", flush=True)
            known = {"date": str(date.today()), "versions": versions, "files": {**known.get("files", {}), test: found}}
            write_records({**read_records(), name: known})


WORDS = {
    "en": ("environment", "date", "files", "passed", "failed", "skipped", "could not be run: {reason}",
           "Failures that are left:", "none"),
    "zh": ("环境", "日期", "测试文件", "通过", "失败", "跳过", "未能运行：{reason}", "尚存的失败：", "无"),
}


def table(language: str) -> str:
    """Return the table of what was run, from the records."""
    first, when, files, passed, failed, skipped, missing, left, none = WORDS[language]
    lines = [f"| {first} | Python | {' | '.join(SHOWN)} | {when} | {files} | {passed} | {failed} | {skipped} |",
             f"|{'---|' * (len(SHOWN) + 7)}"]
    failures = []
    for name, one in read_records().items():
        if "missing" in one:
            said = missing.format(reason=one["missing"])
            lines.append(f"| `{name}` | {said} |{' |' * len(SHOWN)} {one['date']} | | | | |")
            continue
        counts = [sum(file[key] for file in one["files"].values()) for key in ("passed", "failed", "skipped")]
        cells = [one["versions"].get(key, "") for key in ("python", *SHOWN)]
        lines.append(f"| `{name}` | {' | '.join(cells)} | {one['date']} | {len(one['files'])} | "
                     f"{' | '.join(map(str, counts))} |")
        failures += [f"- `{name}`, `{file}`: `{text}`" for file, found in one["files"].items()
                     for text in found.get("failures", ())]
    return "\n".join([*lines, "", left if failures else f"{left} {none}", *failures])


def write_pages() -> None:
    """Write the table between the marks of both pages."""
    for language, page in PAGES.items():
        before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
        page.write_text(f"{before}{BEGIN}\n{table(language)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main(words: Sequence[str]) -> None:
    """Run what the arguments name, and write the pages."""
    given = dict(word.split("=", 1) for word in words)
    unknown = set(given) - {"only", "tests", "folder", "again", "page", "strict"}
    names = given["only"].split(",") if "only" in given else environments()
    known = {*environments(), f"newest-{_python()}"}
    unknown |= set(names) - known
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}. Environments: {', '.join(sorted(known))}")
    if given.get("page", "False") != "True":
        run(names, test_files(given.get("tests", "upstream")), Path(given.get("folder", "runs/versions")).resolve(),
            given.get("again", "False") == "True")
    write_pages()
    records = read_records()
    if given.get("strict", "False") == "True" and any(
            "missing" in (one := records.get(name, {"missing": ""})) or any(file["failed"] for file in one["files"].values())
            for name in names):
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
