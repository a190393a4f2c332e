"""The pages about faults are up to date, and every row names tests that exist."""

import ast
import sys
from pathlib import Path

import pytest
from faults import AREAS, EXCEPTIONS, FAULTS

TESTS = Path(__file__).resolve().parent
sys.path.append(str(TESTS.parent / "docs"))

import make_reliability  # noqa: E402


@pytest.mark.parametrize("number", [0, 1])
def test_the_pages_are_up_to_date(number):
    page = make_reliability.FILES[number].read_text(encoding="utf-8")
    assert page == make_reliability.page(number), "run: python docs/make_reliability.py"


def functions(file):
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_fault_has_tests_that_exist():
    known = {test.partition("::")[0]: functions(test.partition("::")[0]) for fault in FAULTS for test in fault.tests}
    for fault in FAULTS:
        assert fault.tests, fault.name
        for test in fault.tests:
            file, _, name = test.partition("::")
            assert name in known[file], test


def test_every_test_of_the_fault_suite_is_of_a_fault():
    named = {test for fault in FAULTS for test in fault.tests}
    general = {"test_torch_save_is_atomic_only_inside", "test_another_error_keeps_its_traceback",
               "test_a_plan_is_stored_in_the_data_base_too", "test_a_wrong_storage_leaves_the_user_s_folder"}
    for file in ("test_faults_study.py", "test_faults_writes.py", "test_faults_train.py"):
        tests = {name for name in functions(file) if name.startswith("test_")} - general
        assert not {name for name in tests if f"{file}::{name}" not in named}


def test_every_text_is_in_both_languages_and_fits_a_table():
    texts = [text for fault in FAULTS for text in (fault.name, fault.sees, fault.survives, fault.resume)]
    for english, chinese in [*texts, *(one.why for one in EXCEPTIONS), *AREAS.values()]:
        assert english
        assert chinese
        assert "|" not in english + chinese
        assert "\n" not in english + chinese
    assert {fault.area for fault in FAULTS} == set(AREAS)
