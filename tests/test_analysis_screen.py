"""Screening: the places of a host, their causal values, and the ranking."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._pytree import tree_leaves

from yolograft import YOLO, graft
from yolograft.analysis.average_precision import Interval
from yolograft.analysis.gates import replaced
from yolograft.analysis.image_loss import measure
from yolograft.analysis.screen import Candidates, Record, Screening, Value, candidates, find_places, rank
from yolograft.errors import GraftError
from yolograft.sites import rows

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]  # Ultralytics' own warnings


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n.yaml", "yolo12n.yaml", "yolo26n.yaml", "yolo11n-seg.yaml"])
def test_every_row_but_the_head_and_every_bottleneck_is_a_place(name: str) -> None:
    try:
        network = YOLO(name).model
    except GraftError:
        pytest.skip(f"this Ultralytics has no {name}")
    found = candidates(network, "se")
    body = rows(network)
    bottlenecks = [one for one in network.modules() if type(one).__name__ == "Bottleneck"]
    assert found.places[:len(body) - 1] == tuple(str(row.index) for row in body[:-1])
    assert len(found.places) == len(body) - 1 + len(bottlenecks)
    assert list(found.left_out) == [str(body[-1].index)]
    x = torch.rand(1, 3, 64, 64)
    network.eval()
    with torch.no_grad():
        before = tree_leaves(network(x))
        graft(network, found.graft)
        assert all(torch.equal(one, other) for one, other in zip(tree_leaves(network(x)), before, strict=True))
    assert list(find_places(network, found.places)) == list(found.places)


def test_places_that_a_block_cannot_take_are_left_out_with_the_reason() -> None:
    found = candidates(YOLO("yolo11n.yaml").model, "ema(groups=64)")
    assert "0" in found.left_out
    assert "0" not in found.places
    assert "8" in found.places


@pytest.mark.parametrize(("block", "words"), [
    ("se@8", "block=se"), ("sse", "sse"), ("se(ration=8)", "ration"), ("ema(groups=1000)", "No place")])
def test_a_wrong_block_is_one_error(block: str, words: str) -> None:
    with pytest.raises(GraftError) as caught:
        candidates(YOLO("yolo11n.yaml").model, block)
    assert words in str(caught.value)


def test_a_model_with_blocks_is_refused() -> None:
    with pytest.raises(GraftError, match="carries the graft"):
        candidates(YOLO("yolo11n.yaml", graft="se@8").model, "se")


def test_without_all_blocks_the_losses_are_those_of_the_host(tiny_set: Path, weights: Path) -> None:
    torch.manual_seed(0)
    host = YOLO(weights)  # with random weights, the loss would hardly depend on any block
    bare = measure(host, tiny_set, imgsz=64)
    sites = ("2", "16", "6.m.0.m.0.cv2")
    graft(host, f"se@{','.join(sites)}")
    places = find_places(host.model, sites)
    for place in places.values():
        for parameter in place.block.parameters():
            torch.nn.init.normal_(parameter)
    complete = measure(host, tiny_set, imgsz=64)
    with replaced(host.model, dict.fromkeys(places.values(), "one")):
        without = measure(host, tiny_set, imgsz=64)
    np.testing.assert_allclose(without.losses, bare.losses, rtol=1e-5)
    assert np.abs(complete.losses - bare.losses).max() > 1e-4
    for place in places.values():
        with replaced(host.model, {place: "one"}):
            assert not np.allclose(measure(host, tiny_set, imgsz=64).losses, complete.losses, rtol=1e-6)


def record(losses: list[float], ap: float = 0.5) -> Record:
    return Record(names=tuple(map(str, range(len(losses)))), losses=np.array(losses), metrics={"fitness": 0.5},
                  resampled=np.full(1001, ap))


def test_the_place_whose_removal_costs_most_is_first() -> None:
    full = record([1.0, 2.0, 3.0, 2.0])
    values = rank("se", [full], {"2": [record([1.0, 2.0, 3.0, 2.0])], "8": [record([1.2, 2.3, 3.1, 2.2], 0.4)],
                                 "4": [record([0.9, 1.9, 2.9, 1.9], 0.6)]})
    assert [value.place for value in values] == ["8", "2", "4"]
    best, middle, worst = values
    assert best.graft == "se@8"
    assert best.loss.estimate == pytest.approx(0.1)
    assert 0.05 <= best.loss.low < 0.1 < best.loss.high <= 0.15
    assert best.map is not None
    assert best.map.estimate == pytest.approx(0.1)
    assert best.is_above_zero
    assert not middle.is_above_zero
    assert worst.loss.high < 0


def test_the_values_of_several_seeds_are_averaged_image_by_image() -> None:
    fulls = [record([1.0, 3.0]), record([2.0, 2.0])]
    (value,) = rank("se", fulls, {"8": [record([1.2, 3.0]), record([2.0, 2.4])]})
    assert value.loss_by_seed == pytest.approx((0.05, 0.1))
    assert value.loss.estimate == pytest.approx(0.075)


def test_a_record_is_read_only_for_what_it_was_made_of(tmp_path: Path) -> None:
    file = tmp_path / "places" / "8.npz"
    one = record([1.0, 2.0])
    one.write(file, "key, images=all")
    again = Record.read(file, "key, images=all")
    assert again is not None
    assert again.names == one.names
    assert np.array_equal(again.losses, one.losses)
    assert again.metrics == one.metrics
    assert Record.read(file, "key, images=5") is None
    file.write_bytes(file.read_bytes()[:50])
    assert Record.read(file, "key, images=all") is None
    assert Record.read(tmp_path / "none.npz", "key, images=all") is None


def screening(*lows: float) -> Screening:
    values = tuple(Value(place=str(n), graft=f"se@{n}", loss=Interval(estimate=low + 0.01, low=low, high=low + 0.02),
                         map=None, loss_by_seed=(low, -low), map_by_seed=()) for n, low in enumerate(lows))
    return Screening(block="se", seeds=(0, 1), images=8, values=values, left_out={"23": "Detect is the head"})


def test_at_most_five_places_above_zero_are_proposed_or_else_the_first_three() -> None:
    assert screening(0.3, 0.2, 1e-9, -0.1).arms() == "none; se@0; se@1"
    assert screening(*[0.1] * 8).arms() == "none; se@0; se@1; se@2; se@3; se@4"
    assert screening(-0.1, -0.2, -0.3, -0.4).arms() == "none; se@0; se@1; se@2"


def test_the_agreement_of_two_opposite_seeds_is_minus_one() -> None:
    assert screening(0.3, 0.2, 0.1).agreement() == pytest.approx(-1)
    one = rank("se", [record([1.0, 2.0])], {"8": [record([1.0, 2.0])]})
    assert math.isnan(Screening(block="se", seeds=(0,), images=2, values=tuple(one), left_out={}).agreement())


def test_the_table_has_a_line_for_each_place() -> None:
    found = screening(0.3, 0.2)
    assert str(found).splitlines()[1].split()[1] == "se@0"
    assert found.markdown().count("\n") == 4
    assert '"arms": "none; se@0; se@1"' in found.json()


def test_the_graft_names_every_place() -> None:
    assert Candidates(block="se(ratio=8)", places=("0", "6.m.0.cv2"), left_out={}).graft == "se(ratio=8)@0,6.m.0.cv2"
