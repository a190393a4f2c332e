"""A plan file that a person edited: each field is checked by its form, and what was fixed at the start stays."""

import contextlib
from pathlib import Path
from typing import Any

import hostile_files
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from yolograft.errors import DataError, GraftError
from yolograft.study import Study
from yolograft.study.plan import Plan
from yolograft.study.plan_record import _FIELDS, check_fields

GOOD: dict[str, Any] = yaml.safe_load(hostile_files.PLAN)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("none; se@8"))
VALUES = st.recursive(SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(
    st.one_of(st.text(max_size=5), st.sampled_from(["none", "se@8", "seeds", "arms", "spent", "file", "text"])), inner,
    max_size=3)), max_leaves=6)


@settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(st.sampled_from([*GOOD, *_FIELDS]), VALUES, min_size=1, max_size=2))
def test_a_changed_field_ends_with_a_plan_or_our_error(changed: dict[str, Any]) -> None:
    with contextlib.suppress(GraftError):
        plan = Plan.recorded({**GOOD, **changed})
        plan.trials()
        assert Plan.recorded(yaml.safe_load(plan.text())).words() == plan.words()


@pytest.mark.parametrize(("key", "value"), [
    ("spelled", 3), ("fingerprints", [1]), ("versions", "hello"), ("taken", [{"seeds": 1}]), ("registered", {"alpha": "x"}),
    ("yamls", {"a": [1]}), ("hardware", 7), ("model", ["a"]), ("arms", {"a": 1}), ("epochs", {"a": 1})])
def test_the_message_names_the_field_and_its_value(key: str, value: object) -> None:
    with pytest.raises(DataError, match=f"The plan has {key}: .* cannot be used"):
        check_fields({**GOOD, key: value})


@pytest.mark.parametrize(("key", "value"), [("metric", "mAP50"), ("margin", 0.5), ("baseline", "se@8")])
def test_what_was_fixed_at_the_start_cannot_be_edited(key: str, value: object, tmp_path: Path) -> None:
    name = "plan: another metric"
    file = hostile_files.FILES[name].make(tmp_path)
    file.write_text(yaml.safe_dump(GOOD, sort_keys=False))
    assert Study.load(file.parent).plan.metric == "mAP50-95"
    file.write_text(yaml.safe_dump({**GOOD, key: value}, sort_keys=False))
    with pytest.raises(DataError, match=f"has {key}: {value}, but this study was started with"):
        Study.load(file.parent)
