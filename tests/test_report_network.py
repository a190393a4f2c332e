import re
from functools import partial

import pytest

from yolograft.report import network, style
from yolograft.report.network import Network, Node
from yolograft.report.network_figure import draw
from yolograft.report.page import page
from yolograft.report.pictures import Gallery
from yolograft.report.summary import Summary
from yolograft.report.words import Translator
from yolograft.study import Arm, Study
from yolograft.study.plan import Plan

ARMS = ("none", "se@8", "eca@p3,p4,p5", "se@Bottleneck.cv2", "cbam@16/pre")


def study_of(model, tmp_path, arms=ARMS, host="ultralytics"):
    """Return a study without trials, which needs no data."""
    plan = Plan(arms=tuple(Arm(name=arm, graft=arm) for arm in arms), seeds=(0,), settings={"model": model, "data": "x"},
                host=host, spelled={arm: arm for arm in arms}, fingerprints={arm: {} for arm in arms})
    return Study(tmp_path, plan, ())


@pytest.fixture(scope="module")
def yolo(tmp_path_factory):
    return network.of(study_of("yolo11n.yaml", tmp_path_factory.mktemp("a")))


def test_rows_are_those_of_the_model(yolo):
    assert not yolo.why
    assert [node.number for node in yolo.nodes] == list(range(24))
    assert yolo.nodes[8] == Node(8, "C3k2", "backbone", (7,), 32)
    assert yolo.nodes[12] == Node(12, "Concat", "neck", (11, 6), 16)
    assert (yolo.nodes[23].kind, yolo.nodes[23].part, yolo.nodes[23].reads) == ("Detect", "head", (16, 19, 22))


def test_swapped_modules_are_marked_and_blocks_are_those_of_the_swapped_network(tmp_path):
    arms = {"none": ("none", {}), "rows": ("se@DySample", {"swap": "dysample@Upsample"}),
            "inside": ("none", {"swap": "faster_block@2.m.0.cv2"})}
    plan = Plan(arms=tuple(Arm(name=name, graft=graft, settings=settings) for name, (graft, settings) in arms.items()),
                seeds=(0,), settings={"model": "yolo11n.yaml", "data": "x"}, host="ultralytics",
                spelled={name: graft for name, (graft, _) in arms.items()}, fingerprints={name: {} for name in arms})
    found = network.of(Study(tmp_path, plan, ()))
    assert not found.why
    assert found.places == {"none": {}, "rows": dict.fromkeys((11, 14), "Upsample → DySample, se"),
                            "inside": {2: "m.0.cv2: Conv → Faster_Block"}}


def test_grafts_are_in_their_rows(yolo):
    assert yolo.places["none"] == {}
    assert yolo.places["se@8"] == {8: "se"}
    assert set(yolo.places["eca@p3,p4,p5"]) == {16, 19, 22}
    assert set(yolo.places["se@Bottleneck.cv2"]) == {2, 4, 6, 8, 13, 16, 19, 22}
    assert yolo.places["cbam@16/pre"] == {16: "cbam /pre"}


def test_absent_weights_are_not_downloaded(tmp_path, monkeypatch, yolo):
    monkeypatch.chdir(tmp_path)
    assert network.of(study_of("yolo11n.pt", tmp_path)).nodes == yolo.nodes
    assert list(tmp_path.iterdir()) == []


def test_every_mark_is_drawn_with_its_tooltip(tmp_path, yolo):
    summary = Summary(study_of("yolo11n.yaml", tmp_path))
    summary.__dict__["network"] = yolo
    text = style.inline(partial(draw, summary, Translator("en")), "network")
    for node in yolo.nodes:
        assert f'data-tip="{node.number} {node.kind}' in text
    for place, arm in enumerate(ARMS):
        spots = len(yolo.places[arm])
        assert len(re.findall(f'data-arm="{place}" data-tip="{arm}\\n\\d', text)) == spots


@pytest.mark.parametrize(("model", "host", "why"), [
    ("yolo11n.yaml", "yolograft.study.dummy", "has no description of its network"),
    ("nothing.yaml", "ultralytics", "does not exist"),
])
def test_a_page_without_a_network_gives_the_reason(tmp_path, model, host, why):
    study = study_of(model, tmp_path, host=host)
    found = network.of(study)
    assert not found.nodes
    assert why in found.why
    assert why in page(Summary(study), Translator("en"), Gallery(why="none"))


def test_more_arms_than_fit_above_a_row_are_counted(tmp_path):
    arms = [f"se(ratio={n})@8" for n in range(2, 15)]
    summary = Summary(study_of("yolo11n.yaml", tmp_path, arms=("none", *arms)))
    nodes = tuple(Node(n, "Conv", "backbone", (n - 1,), 2) for n in range(10))
    summary.__dict__["network"] = Network(nodes, {arm: {8: "se"} for arm in arms})
    assert ">+5<" in style.inline(partial(draw, summary, Translator("en")), "network")
