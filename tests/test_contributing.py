"""CONTRIBUTING, its templates and hooks name files that exist and the commands of CI. Only in a checkout."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not (ROOT / ".ci").is_dir(), reason="needs a checkout: an sdist has no .ci")
PAGES = ["CONTRIBUTING.md", "CONTRIBUTING.zh-CN.md"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def code(page: str) -> list[str]:
    """Return the commands of a page's first block of code, without comments."""
    block = re.findall(r"```bash\n(.*?)```", read(page), flags=re.S)[0]
    return [line.partition("#")[0].strip() for line in block.splitlines()]


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_it_names_exist(page: str) -> None:
    text = read(page)
    named = set(re.findall(r"((?:src|tests|docs|benchmarks)/[\w/.-]*\w)", text)) - {"tests/golden/VERSION"}
    assert len(named) >= 15
    missing = [name for name in sorted(named) if not (ROOT / name).exists()]
    assert not missing, f"{page} names {', '.join(missing)}, which do not exist"


@pytest.mark.parametrize("page", PAGES)
def test_its_commands_are_those_of_ci(page: str) -> None:
    install, lint, test, benchmark = code(page)
    ci = read(".ci/run").splitlines()
    assert install.endswith('pip install -e ".[dev]"')
    assert 'pip install -q -e ".[dev]"' in ci
    assert {*lint.split(" && "), test} <= set(ci)
    assert benchmark.startswith("python benchmarks/")
    for readme in ("README.md", "README.zh-CN.md"):
        assert f'pip install -e ".[dev]" && {test}' in read(readme), f"{readme} has another test command"


def test_both_languages_have_the_same_code_and_rows() -> None:
    english, chinese = map(read, PAGES)
    assert code(PAGES[0]) == code(PAGES[1])
    files = [re.findall(r"`((?:src|tests)/[\w/.-]+)`", text) for text in (english, chinese)]
    assert files[0] == files[1]


def test_the_names_in_the_table_are_in_the_code() -> None:
    for file, name in [("spec.py", "class Site"), ("modelyaml/lint.py", "def _check_rows"),
                       ("study/verdict.py", "def judge"),
                       ("report/figures.py", "FIGURES: ")]:
        assert name in read(f"src/yolograft/{file}"), f"CONTRIBUTING.md names it in {file}"


def test_the_hooks_run_what_ci_runs() -> None:
    (local,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert local["repo"] == "local"
    ci = read(".ci/run").splitlines()
    for hook in local["hooks"]:
        command, _, file = hook["entry"].partition(" tests/")
        assert command in ci, f"the hook {hook['id']} runs {command}, which CI does not"
        assert not file or (ROOT / "tests" / file).is_file()
        assert hook["language"] == "system"


@pytest.mark.parametrize("form", ["bug.yml", "feature.yml"])
def test_the_forms_are_such_as_github_takes(form: str) -> None:
    found: dict[str, Any] = yaml.safe_load(read(f".github/ISSUE_TEMPLATE/{form}"))
    assert {"name", "description", "body"} <= set(found) <= {"name", "description", "labels", "body"}
    ids = [one["id"] for one in found["body"]]
    assert len(ids) == len(set(ids)) > 2
    for one in found["body"]:
        assert one["type"] in ("textarea", "input")
        assert one["attributes"]["label"]
        assert set(one) <= {"type", "id", "attributes", "validations"}
