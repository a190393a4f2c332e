import pytest
from hypothesis import given
from hypothesis import strategies as st

from yolograft.errors import GraftError, SpecError
from yolograft.study import dummy
from yolograft.study.arms import CONTROLS, parse_arms, read_value


def parse(text, model="yolo11n.pt"):
    return parse_arms(text, dummy, model=model)


@pytest.mark.parametrize(("text", "name", "graft", "control", "settings"), [
    ("none", "none", "none", "", {}),
    ("NONE", "none", "none", "", {}),
    ("se@8", "se@8", "se@8", "", {}),
    ("se( ratio = 8 ) @ p3 , p4", "se(ratio=8)@p3,p4", "se(ratio=8)@p3,p4", "", {}),
    ("se@8 + cbam@p3 lr0=0.005 epochs=5", "se@8 + cbam@p3 lr0=0.005 epochs=5", "se@8 + cbam@p3", "",
     {"lr0": 0.005, "epochs": 5}),
    ("lr0=0.1", "none lr0=0.1", "none", "", {"lr0": 0.1}),
    ("none data=/a/b.yaml", "none data=/a/b.yaml", "none", "", {"data": "/a/b.yaml"}),
    ("none freeze=[0, 1]", "none freeze=[0, 1]", "none", "", {"freeze": [0, 1]}),
    ("none iou=wiou", "none iou=wiou", "none", "", {"iou": "wiou"}),
    ("iou=inner-ciou(ratio=0.7)", "none iou=inner-ciou(ratio=0.7)", "none", "", {"iou": "inner-ciou(ratio=0.7)"}),
    ("se@8 iou=wiou(version=1, alpha=2)", "se@8 iou=wiou(version=1, alpha=2)", "se@8", "",
     {"iou": "wiou(version=1, alpha=2)"}),
    ("aa", "aa", "none", "aa", {}),
    ("params(se@8)", "params(se@8)", "se@8", "params", {}),
    ("gate1(se@8) lr0=0.1", "gate1(se@8) lr0=0.1", "se@8", "gate1", {"lr0": 0.1}),
    ("scale", "scale", "none", "", {"model": "yolo11s.pt"}),
])
def test_one_arm(text, name, graft, control, settings):
    (arm,) = parse(text)
    assert (arm.name, arm.graft, arm.control, dict(arm.settings)) == (name, graft, control, settings)
    (again,) = parse(arm.name)
    assert again == arm, "an arm's name parses to the same arm"


def test_a_control_uses_the_graft_of_the_arm_before_it():
    assert [arm.name for arm in parse("none; se@8; params; cbam@p3; gate1; aa")] == [
        "none", "se@8", "params(se@8)", "cbam@p3", "gate1(cbam@p3)", "aa"]


def test_helpers_expand_to_several_arms():
    assert [arm.graft for arm in parse("ratios(se, 8)")] == [f"se(ratio={r})@8" for r in (2, 4, 8, 16, 32)]
    assert [arm.graft for arm in parse("blocks(p3,p4)")] == [f"{b}@p3,p4" for b in dummy.blocks()]
    positions = parse("positions(se(ratio=8)) epochs=2")
    assert [arm.graft for arm in positions] == [f"se(ratio=8)@{row}" for row in dummy.rows("")]
    assert all(arm.settings == {"epochs": 2} for arm in positions)


@pytest.mark.parametrize(("model", "larger"), [
    ("yolo11n.pt", "yolo11s.pt"), ("/some/yolov8s-seg.yaml", "/some/yolov8m-seg.yaml"),
    ("yolo26l.pt", "yolo26x.pt"), ("yolov9t.pt", "yolov9s.pt"), ("yolo11n-obb.pt", "yolo11s-obb.pt")])
def test_scale_names_the_next_larger_model(model, larger):
    assert parse("scale", model)[0].settings["model"] == larger


@pytest.mark.parametrize(("text", "says"), [
    ("", "no arms"), (" ; ", "no arms"),
    ("positions", "incomplete"), ("ratios(se)", "ratios(se, 8)"), ("blocks()", "incomplete"),
    ("position(se)", "Did you mean 'positions'"), ("prams", "Did you mean 'params'"),
    ("params", "after that graft"), ("aa(se@8)", "is a copy of the baseline"),
    ("sse@8", "Did you mean 'se'"), ("se@", "not a site"), ("se@8; (", "lacks"),
    ("none; none", "are the same"), ("se@8; se(ratio=16)@8", "se(ratio=16)@8"), ("aa; aa", "are the same"),
    ("se@8 lr0=0.1; se@8 lr0=0.10", "are the same"),
])
def test_a_wrong_text_raises_an_error_that_names_it(text, says):
    with pytest.raises(GraftError) as caught:
        parse(text)
    assert says in str(caught.value)


def test_scale_fails_for_a_model_name_without_a_scale_letter():
    with pytest.raises(SpecError, match=r"which model comes after 'best\.pt'"):
        parse("scale", "best.pt")


@given(st.text(alphabet="se@8;,()[]= aposition'\"none.+-1", max_size=40))
def test_any_text_is_parsed_or_raises_graft_error(text):
    try:
        arms = parse(text)
    except GraftError:
        return
    assert len({arm.name for arm in arms}) == len(arms)


def test_the_role_of_an_arm_names_its_control():
    arms = parse("none; se@8; se@8 lr0=0.1; aa; params(se@8) lr0=0.1; gate1; scale; scale epochs=3")
    assert [arm.role for arm in arms] == ["", "", "", "aa", "params", "gate1", "scale", "scale"]
    with pytest.raises(SpecError, match="takes no argument"):
        parse("scale(2)")


def test_every_control_is_described():
    assert set(CONTROLS) == {"aa", "params", "gate1", "scale"}


@pytest.mark.parametrize(("text", "value"), [("3", 3), ("1e-3", 1e-3), ("true", True), ("None", None),
                                             ("0,1", [0, 1]), ("a/b.yaml", "a/b.yaml"), ("[1,2]", [1, 2])])
def test_values(text, value):
    assert read_value(text) == value


@pytest.mark.parametrize(("text", "name", "yaml", "file", "graft", "settings"), [
    ("my.yaml", "my.yaml", "my.yaml", "my.yaml", "none", {}),
    ("a/b/my.yml + se@8 lr0=0.1", "my.yml + se@8", "my.yml", "a/b/my.yml", "se@8", {"lr0": 0.1}),
    ("my bifpn v2.yaml", '"my bifpn v2.yaml"', "my bifpn v2.yaml", "my bifpn v2.yaml", "none", {}),
    ("'模型/我的 yolo11.YAML' + se@8 + cbam@p3,p4", '"我的 yolo11.YAML" + se@8 + cbam@p3,p4', "我的 yolo11.YAML",
     "模型/我的 yolo11.YAML", "se@8 + cbam@p3,p4", {}),
    ("模型/网络.yaml iou=wiou", "网络.yaml", "网络.yaml", "模型/网络.yaml", "none", {"iou": "wiou"}),
    ('"Wang\'s net; a+b, (2) @x.yaml"', '"Wang\'s net; a+b, (2) @x.yaml"', "Wang's net; a+b, (2) @x.yaml",
     "Wang's net; a+b, (2) @x.yaml", "none", {}),
    ("'a \"quoted\" name.yaml'", "'a \"quoted\" name.yaml'", 'a "quoted" name.yaml', 'a "quoted" name.yaml', "none", {}),
    (r'"C:\my models\net.yaml" + se@8', "net.yaml + se@8", "net.yaml", r"C:\my models\net.yaml", "se@8", {}),
    (r"C:\models\net.yaml", "net.yaml", "net.yaml", r"C:\models\net.yaml", "none", {}),
])
def test_a_model_yaml_is_an_arm(text, name, yaml, file, graft, settings):
    (arm,) = parse(text)
    suffix = "".join(f" {key}={value}" for key, value in settings.items())
    assert (arm.name, arm.yaml, arm.file, arm.graft, dict(arm.settings)) == (name.removesuffix(suffix) + suffix, yaml, file,
                                                                             graft, settings)
    assert not arm.bare
    assert parse(arm.name) == (arm,), "an arm's name parses to the same arm"
    assert [one.name for one in parse(f"none; {text}, se@p3,p4; aa")] == ["none", arm.name, "se@p3,p4", "aa"]


def test_arms_of_files_with_one_name_show_the_folders_that_differ():
    assert [arm.name for arm in parse("x/a/net.yaml; x/b/net.yaml; x/a/net.yaml + se@8")] == [
        "net.yaml", "b/net.yaml", "net.yaml + se@8"]


def test_controls_of_a_model_yaml_use_its_rows():
    arms = parse("none; my.yaml + se@8; params; gate1(my.yaml + cbam@8)")
    assert [(arm.name, arm.yaml, arm.graft, arm.control) for arm in arms[2:]] == [
        ("params(my.yaml + se@8)", "my.yaml", "se@8", "params"),
        ("gate1(my.yaml + cbam@8)", "my.yaml", "cbam@8", "gate1")]
    assert [parse(arm.name)[0] for arm in arms[2:]] == list(arms[2:])
    assert parse("my.yaml + se@8 lr0=0.1; params")[1].name == "params(my.yaml + se@8)"


@pytest.mark.parametrize(("text", "says"), [
    ("a.yaml + b.yaml", "two model YAMLs"), ("my.yaml + sse@8", "Did you mean 'se'"),
    ("my.yaml; ./my.yaml; my.yaml", "same"), ("my.yaml + ", "empty"), ("scale(my.yaml)", "takes no argument")])
def test_a_wrong_arm_with_a_model_yaml_raises_an_error_that_says_why(text, says):
    with pytest.raises(GraftError) as caught:
        parse(text)
    assert says in str(caught.value)


def test_all_wrong_arms_are_in_one_error():
    with pytest.raises(GraftError) as caught:
        parse("none; sse@8; cbam@8; positions; a.yaml + b.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    assert all(f"'{arm}'" in line for arm, line in zip(("sse@8", "positions", "a.yaml + b.yaml"), lines[1:], strict=True))


@pytest.mark.parametrize(("text", "value"), [
    ("none swap=dysample@Upsample", "dysample@Upsample"), ("swap=a@8 + b@neck.C3k2", "a@8 + b@neck.C3k2"),
    ("none swap=a@8+ b@9 lr0=0.1", "a@8+ b@9"), ("se@8 swap=a(ratio=2, k=3)@8", "a(ratio=2, k=3)@8")])
def test_the_value_of_a_train_argument_can_be_a_text_like_a_graft(text, value):
    (arm,) = parse(text)
    assert arm.settings["swap"] == value
    assert parse(arm.name) == (arm,)
