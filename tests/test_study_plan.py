from dataclasses import replace

import pytest
import yaml

from yolograft.errors import DataError, GraftError
from yolograft.study import run, status
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


@pytest.mark.parametrize(("content", "says"), [("[1, 2]", "must have"), ("a: [", "cannot be read as YAML"), ("", "must")])
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


ROWS = "nc: 80  # classes\nbackbone:\n- [-1, 1, Conv, [64, 3, 2]]\nhead:\n- [[0], 1, Detect, [nc]]\n"


@pytest.fixture
def net(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "my models" / "网络 v2.yaml"
    path.parent.mkdir()
    path.write_text(ROWS, encoding="utf-8")
    return path


def test_a_plan_records_the_text_of_a_model_yaml(net, tmp_path):
    made = plan(arms=f"none; '{net}' + se@8; '{net}'")
    assert made.yamls["网络 v2.yaml"].text == ROWS
    assert [(t.yaml, t.graft) for t in made.trials()[:3]] == [("", "none"), (ROWS, "se(ratio=16)@8"), (ROWS, "none")]
    assert {t.settings["model"] for t in made.trials()} == {"yolo11n.pt"}, "the host gives the scale and the weights"
    made.write(tmp_path / "plan.yaml")
    text = (tmp_path / "plan.yaml").read_text(encoding="utf-8")
    assert "      - [-1, 1, Conv, [64, 3, 2]]\n" in text, "the rows are lines that a person can read"
    for again in (Plan.read(tmp_path / "plan.yaml"), Plan.read(tmp_path / "plan.yaml", recorded=True)):
        assert again == made
        assert [t.key for t in again.trials()] == [t.key for t in made.trials()]


def test_the_folder_and_the_comments_of_a_model_yaml_do_not_matter_but_its_rows_do(net, tmp_path):
    key = plan(arms=f"none; '{net}'").trials()[1].key
    (tmp_path / "网络 v2.yaml").write_text(ROWS, encoding="utf-8")
    assert plan(arms="none; '网络 v2.yaml'").trials()[1].key == key
    net.write_text(ROWS.replace("64", "32"), encoding="utf-8")
    assert plan(arms=f"none; '{net}'").trials()[1].key != key


def test_trials_without_a_model_yaml_keep_the_keys_of_earlier_versions(monkeypatch):
    monkeypatch.setenv("YOLOGRAFT_DUMMY_VERSION", "1")
    trial = plan(arms="none; se@8").trials()[1]
    stored = replace(trial, versions={}, yaml_name="a label")
    assert stored.key == "abcf9306f66df0b256ef"


def test_a_study_goes_on_where_the_file_is_gone_and_says_where_it_was_edited(net, tmp_path):
    words = {**WORDS, "arms": f"none; '{net}'", "seeds": 1}
    first = run(words, tmp_path / "s")
    net.write_text(ROWS + "# a comment\n", encoding="utf-8")
    assert run(words, tmp_path / "s").plan == first.plan, "a comment changes nothing"
    net.write_text(ROWS.replace("64", "32"), encoding="utf-8")
    with pytest.raises(DataError, match=r"网络 v2\.yaml' has other rows or settings .* another name"):
        run(words, tmp_path / "s")
    with pytest.raises(DataError, match="has other rows"):
        Plan.read(tmp_path / "s" / "plan.yaml")
    net.unlink()
    again = run({**words, "seeds": 2}, tmp_path / "s")
    assert [len(scores) for scores in again.scores().values()] == [2, 2]
    assert "网络 v2.yaml" in status(tmp_path / "s")
    (tmp_path / "copy").mkdir()
    moved = Plan.read(tmp_path / "s" / "plan.yaml")
    assert run(moved, tmp_path / "copy" / "s").scores() == again.scores(), "a plan file needs no other file"


def test_all_wrong_arms_of_a_plan_are_in_one_error(net):
    (net.parent / "none.yaml").write_text("names: [a]\n")
    with pytest.raises(GraftError) as caught:
        plan(arms=f"none; '{net}'; '{net.parent / 'none.yaml'}' + se@8; gone.yaml; none lr9=1")
    text = str(caught.value)
    assert text.startswith("3 arms cannot be used:")
    for says in ("'none.yaml + se@8': ", "no model YAML", "'gone.yaml': The model YAML 'gone.yaml' does not exist",
                 "'none lr9=1': ", "Did you mean 'lr0'"):
        assert says in text


def test_two_copies_of_a_model_yaml_are_not_two_arms(net, tmp_path):
    (tmp_path / "copy.yaml").write_text(ROWS, encoding="utf-8")
    with pytest.raises(GraftError, match=r"'\"网络 v2\.yaml\"' and 'copy\.yaml' are the same"):
        plan(arms=f"none; '{net}'; copy.yaml")


def test_a_host_that_trains_no_model_yamls_says_so(net, monkeypatch):
    monkeypatch.delattr("yolograft.study.dummy.find_yaml")
    with pytest.raises(GraftError, match="trains no model YAMLs"):
        plan(arms=f"none; '{net}'")


def test_the_dummy_loads_and_hashes_the_user_s_files(tmp_path):
    own = tmp_path / "own_study_blocks.py"
    own.write_text("from torch import nn\nclass OwnStudyBlock(nn.Module):\n    def __init__(self, channels, ratio=4):\n"
                   "        super().__init__()\n    def forward(self, x):\n        return x\n")
    made = plan(arms="none; OwnStudyBlock@8", blocks=str(own))
    assert made.spelled["OwnStudyBlock@8"] == "OwnStudyBlock(ratio=4)@8"
    assert len(made.fingerprints["none"]["blocks"]) == 64
    assert made.settings["blocks"] == str(own)
    assert "modules" in plan(arms="none", modules=str(own)).fingerprints["none"]
    for key in ("blocks", "modules"):
        with pytest.raises(GraftError, match=r"gone\.py"):
            plan(**{key: str(tmp_path / "gone.py")})


@pytest.mark.parametrize(("more", "seeds", "looks"), [
    ({"seeds": "6..9"}, 9, (6, 7, 8, 9)), ({"seeds": None, "looks": "6,8,10,12"}, 12, (6, 8, 10, 12)),
    ({"seeds": 10, "looks": [6, 8]}, 10, (6, 8, 10)), ({"seeds": 6, "looks": "6"}, 6, ()),
    ({"seeds": 8, "looks": "8"}, 8, ())])
def test_looks_are_read(more, seeds, looks, tmp_path):
    made = plan(**more)
    assert len(made.seeds) == seeds
    assert made.looks == looks
    assert [look.seeds for look in made.schedule] == list(looks or (seeds,))
    assert made.schedule[-1].spent == 0.05
    made.write(tmp_path / "plan.yaml")
    assert Plan.read(tmp_path / "plan.yaml") == made
    assert Plan.read(tmp_path / "plan.yaml", recorded=True).schedule == made.schedule


@pytest.mark.parametrize(("more", "message"), [
    ({"looks": "8,6"}, "increasing numbers"), ({"looks": "6,x"}, "increasing numbers"),
    ({"looks": "0,6"}, "increasing numbers"),
    ({"looks": "6,12", "seeds": 8}, "the study has 8"), ({"seeds": "12..6"}, "must be a number of seeds"),
    ({"seeds": "6..12", "looks": "6"}, "leave out looks="), ({"looks": "6,8", "seeds": 8, "race": True}, "has one look"),
    ({"margin": 0}, "margin=0 must be"), ({"margin": "large"}, "margin=large must be"), ({"margin": -0.01}, "margin=-0.01"),
    ({"register": "maybe"}, "must be True or False"), ({"arms": "none; aa(0)"}, "'aa\\(3\\)' are three"),
    ({"arms": "none; aa(x)"}, "'aa\\(3\\)' are three")])
def test_wrong_looks_margins_and_copies_are_refused(more, message):
    with pytest.raises(GraftError, match=message):
        plan(**more)


def test_copies_of_the_baseline_are_arms():
    made = plan(arms="none; se@8; aa(3)")
    assert [arm.name for arm in made.arms] == ["none", "se@8", "aa", "aa2", "aa3"]
    assert made.copies == ("aa", "aa2", "aa3")
    assert {arm.role for arm in made.arms[2:]} == {"aa"}
    assert plan(arms=[arm.name for arm in made.arms]).arms == made.arms
    assert plan(arms="none; se@8; aa(3)", baseline="se@8").copies == (), "they are copies of the bare host"
    assert len({trial.key for trial in made.trials()}) == 15


def test_the_margin_is_recorded_and_a_plan_of_before_has_none(tmp_path):
    made = plan()
    assert made.margin == 0.01
    assert plan(margin="None").margin is None
    assert Plan.recorded({key: value for key, value in made.words().items() if key != "margin"}).margin is None


def test_added_seeds_and_arms_are_looks_that_get_what_is_left():
    made = plan(arms="none; se@8; cbam@8", seeds=6)
    (first,) = made.schedule
    more = replace(made, taken=(replace(first, arms=("se@8",)),), looks=(6, 8), seeds=tuple(range(8)))
    assert [(look.seeds, look.arms) for look in more.schedule] == [
        (6, ("se@8",)), (6, ("cbam@8",)), (8, ("se@8", "cbam@8"))]
    assert [look.spent for look in more.schedule] == [0.05] * 3
