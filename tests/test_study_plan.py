import pytest
import yaml

from yolograft.errors import DataError, GraftError
from yolograft.study.plan import Plan

WORDS = {"data": "somewhere", "model": "yolo11n.pt", "arms": "none; se@8; se@8 lr0=0.005; aa", "seeds": "3",
         "epochs": "2", "host": "yolograft.study.dummy"}


def plan(**words):
    return Plan.of({**WORDS, **words})


def test_a_plan_is_read_from_keys_and_values():
    made = plan(metric="mAP50")
    assert made.seeds == (0, 1, 2)
    assert made.settings == {"data": "somewhere", "model": "yolo11n.pt", "epochs": 2}
    assert made.baseline == "none"
    assert made.spelled["se@8"] == "se(ratio=16)@8"


def test_trials_are_ordered_by_seed_and_have_distinct_keys():
    trials = plan().trials()
    assert [t.seed for t in trials] == [0] * 4 + [1] * 4 + [2] * 4
    assert len({t.key for t in trials}) == 12


def test_a_written_plan_reads_back_to_the_same_trials(tmp_path):
    made = plan(arms="none; positions(se); params; scale; se@8 freeze=[0,1]")
    made.write(tmp_path / "plan.yaml")
    again = Plan.read(tmp_path / "plan.yaml")
    assert [t.key for t in again.trials()] == [t.key for t in made.trials()]
    assert again == made


def test_a_plan_written_by_hand_is_read(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("data: somewhere\nmodel: yolo11n.pt\narms: none; se@8\nseeds: [5, 7]\n"
                    "host: yolograft.study.dummy\n")
    assert [(t.arm, t.seed) for t in Plan.read(path).trials()] == [
        ("none", 5), ("se@8", 5), ("none", 7), ("se@8", 7)]


@pytest.mark.parametrize("change", [{"epochs": "3"}, {"data": "elsewhere"}, {"model": "yolo11s.pt"}])
def test_settings_that_affect_the_result_change_the_key(change):
    assert not {t.key for t in plan().trials()} & {t.key for t in plan(**change).trials()}


def test_settings_that_do_not_affect_the_result_keep_the_key():
    short, long = plan(arms="none; se@8"), plan(arms="none; cbam@8; se(ratio=16)@8", metric="mAP50")
    assert {t.key for t in short.trials()} <= {t.key for t in long.trials()}


def test_changed_data_changes_the_key(tmp_path):
    data = tmp_path / "d.yaml"
    data.write_text("a")
    one = plan(data=str(data)).trials()[0].key
    data.write_text("b")
    assert plan(data=str(data)).trials()[0].key != one


def test_a_baseline_is_added_if_the_arms_have_none():
    made = plan(arms="se@8; cbam@8")
    assert made.baseline == "none"
    assert [arm.name for arm in made.arms] == ["none", "se@8", "cbam@8"]


def test_another_arm_can_be_the_baseline():
    assert plan(baseline="se@8").baseline == "se@8"
    with pytest.raises(GraftError, match="Did you mean 'se@8'"):
        plan(baseline="se@9")


@pytest.mark.parametrize(("words", "says"), [
    ({"data": ""}, "names no data"), ({"model": None}, "names no model"), ({"arms": ""}, "names no arms"),
    ({"seeds": "0"}, "seeds=0"), ({"seeds": "1,1"}, "different seeds"), ({"seeds": "x"}, "seeds=x"),
    ({"seeds": -1}, "seeds=-1"), ({"seeds": True}, "seeds=True"), ({"seed": 1}, "seeds=1"),
    ({"metric": "map"}, "mAP50"), ({"epoch": 3}, "Did you mean 'epochs'"),
    ({"data": "missing.yaml"}, "does not exist"), ({"host": "yolograft.nothing"}, "yolograft.nothing"),
    ({"arms": "se@8 epoch=3"}, "Did you mean 'epochs'"),
])
def test_a_wrong_value_raises_an_error_that_names_it(words, says):
    with pytest.raises(GraftError) as caught:
        plan(**words)
    assert says in str(caught.value)


@pytest.mark.parametrize(("content", "says"), [("[1, 2]", "must have"), ("a: [", "not YAML"), ("", "must")])
def test_a_broken_plan_file_raises_an_error(tmp_path, content, says):
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(DataError, match=says):
        Plan.read(tmp_path / "p.yaml")
    with pytest.raises(DataError, match="does not exist"):
        Plan.read(tmp_path / "nothing.yaml")


def test_a_recorded_plan_raises_an_error_if_versions_data_or_defaults_changed(tmp_path, monkeypatch):
    data = tmp_path / "d.yaml"
    data.write_text("a")
    path = tmp_path / "plan.yaml"
    plan(data=str(data)).write(path)
    assert Plan.read(path)
    data.write_text("b")
    with pytest.raises(DataError, match="other data or weights"):
        Plan.read(path)
    data.write_text("a")
    monkeypatch.setenv("YOLOGRAFT_DUMMY_VERSION", "2")
    with pytest.raises(DataError, match="dummy: 1 then, 2 now"):
        Plan.read(path)
    monkeypatch.delenv("YOLOGRAFT_DUMMY_VERSION")
    words = yaml.safe_load(path.read_text())
    words["spelled"]["se@8"] = "se(ratio=8)@8"
    path.write_text(yaml.safe_dump(words))
    with pytest.raises(DataError, match="other defaults"):
        Plan.read(path)
