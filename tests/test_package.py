"""The package: a pure wheel with all files, tested lower bounds, constraints, and workflows with pinned actions."""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / ".ci").is_dir(), reason="needs a checkout: an sdist has no .ci")
WORKFLOWS = ["release", "tests"]


def requirements(*extras: str) -> dict[str, Requirement]:
    """Return the requirements in pyproject.toml of the package and of extras, by name."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    listed = re.findall(r"^dependencies = \[\n(.*?)^\]", text, flags=re.S | re.M)
    listed += [body for name, body in re.findall(r"^(\w+) = \[(.*?)\]$", text, flags=re.S | re.M) if name in extras]
    texts = [text for body in listed for text in re.findall(r'"([^"]+)"', body) if not text.startswith("yolograft")]
    return {one.name.lower(): one for one in map(Requirement, texts)}


def constraints() -> list[Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_the_wheel_is_for_every_platform_and_complete(tmp_path: Path) -> None:
    builder = pytest.importorskip("hatchling.builders.wheel").WheelBuilder(str(ROOT))
    (wheel,) = (Path(one) for one in builder.build(directory=str(tmp_path), versions=["standard"]))
    smoke: dict[str, Any] = runpy.run_path(str(ROOT / ".ci" / "smoke.py"))
    assert wheel.name.endswith("-py3-none-any.whl")
    smoke["check_wheel"](wheel)
    names = set(smoke["files_of"](wheel))
    for file in ("locale/zh.json", "py.typed", "fast/cpu/nms.c", "modelyaml/shipped/yolo11-se.yaml",
                 "report/templates/report.html.j2", "analysis/deploy_matrix.json"):
        assert f"yolograft/{file}" in names


def test_a_wheel_with_a_library_or_without_a_file_is_refused(tmp_path: Path) -> None:
    import zipfile

    smoke: dict[str, Any] = runpy.run_path(str(ROOT / ".ci" / "smoke.py"))
    whole = {path.relative_to(ROOT / "src").as_posix(): b"" for path in (ROOT / "src").rglob("*")
             if path.is_file() and "__pycache__" not in path.parts}
    for name, files in (("a-1-py3-none-any.whl", {**whole, "yolograft/nms.so": b""}),
                        ("a-1-py3-none-any.whl", dict(list(whole.items())[1:])), ("a-1-cp311-cp311-linux.whl", whole)):
        with zipfile.ZipFile(tmp_path / name, "w") as opened:
            for file, content in files.items():
                opened.writestr(file, content)
        with pytest.raises(SystemExit):
            smoke["check_wheel"](tmp_path / name)


@pytest.mark.slow
def test_wheel_and_sdist_install_without_a_compiler_and_train(tmp_path: Path) -> None:
    pytest.importorskip("build")
    done = subprocess.run([sys.executable, str(ROOT / ".ci" / "smoke.py"), str(tmp_path / "dist")], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wheel: yolograft-" in done.stdout
    assert "sdist: yolograft-" in done.stdout


def test_every_lower_bound_is_a_version_that_was_run() -> None:
    records = json.loads((ROOT / "docs" / "results" / "versions.json").read_text(encoding="utf-8"))
    ran = records["lowest"]["versions"]
    for name, requirement in requirements().items():
        (bound,) = (one for one in requirement.specifier if one.operator == ">=")
        if name in ran:
            assert ran[name].split("+")[0].startswith(bound.version), f"{requirement}, but {ran[name]} was run"
    assert all(any(one.operator == ">=" for one in requirement.specifier) for requirement in requirements("dev").values())


def test_constraints_have_names_and_versions_only_and_agree_with_the_lower_bounds() -> None:
    found = constraints()
    assert all(len(one.specifier) == 1 and str(one.specifier).startswith("==") and not one.url for one in found)
    assert "--hash" not in (ROOT / "constraints.txt").read_text(encoding="utf-8")
    names = {one.name.lower() for one in found}
    for name, requirement in requirements("dev", "export", "inside").items():
        assert name in names, f"{name} is missing: write constraints.txt again"
        for one in (one for one in found if one.name.lower() == name):
            version = str(one.specifier).removeprefix("==")
            assert requirement.specifier.contains(version, prereleases=True), f"{one} is not {requirement}"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_actions_have_a_full_version_and_jobs_the_least_permissions(name: str) -> None:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert all(re.fullmatch(r"[\w./-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})", one) for one in used), used
    assert content["permissions"] == {"contents": "read"}
    assert "password" not in text
    assert "secrets." not in text
    for script in re.findall(r"run: (?:python )?(\S+\.py|\.ci/\w+)", text):
        assert (ROOT / script).is_file(), script


def test_the_release_publishes_what_was_tried_with_a_trusted_publisher() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8"))["jobs"]
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["environment"] == "pypi"
    assert any(".ci/smoke.py dist" in step.get("run", "") for step in jobs["build"]["steps"])
    assert "permissions" not in jobs["build"], "what builds may not publish"


@pytest.mark.parametrize("page", ["SECURITY.md", "SECURITY.zh-CN.md"])
def test_the_files_that_the_security_pages_name_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) >= 5
    for link in links:
        if link not in ("docs/security.md", "docs/security.zh-CN.md"):  # written with the rules for opening files
            assert (ROOT / link).is_file(), link
