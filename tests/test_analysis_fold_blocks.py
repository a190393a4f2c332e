"""Laws of folding: the folded network equals the one with fixed constants, for every block, site, host and task."""

from __future__ import annotations

import copy

import pytest
import torch
import ultralytics
from folding_hosts import all_sites, random_constants, sample, settled, with_blocks
from torch import nn

from yolograft import GraftError, attach, blocks
from yolograft.analysis import fold_blocks as module
from yolograft.analysis.constant_gate import EXACT, observe_constants
from yolograft.analysis.fold_blocks import blocked_alone, blocked_together, fold_blocks, largest_error, with_constants
from yolograft.analysis.gates import places
from yolograft.blocks.nam import NAM
from yolograft.host.models import graft_onto

OLD = ultralytics.__version__.startswith("8.3.")
pytestmark = pytest.mark.usefixtures("one_thread")

# Site -> whether a factor per channel there can be folded.
KNOWN = {"8": True, "16": True, "p4": True, "2.m.0.cv2": False, "Bottleneck.cv2": False, "9.m": True,
         "10.m.0.attn.qkv": True, "6.cv1": True, "13.cv2.bn": True, "23.cv3.0.0": True, "8/pre": True, "11": True}
# Blocks that are constants per channel when their weights are 0. The others mix positions or channels, or have no weights.
CONSTANT = {"bam", "cbam", "ceca", "coordatt", "double", "eca", "ela", "ema", "ese", "fca", "gam", "gc", "gct", "ge", "lsk",
            "lska", "mhsa", "mlca", "nonlocal", "pam", "psa", "scse", "se", "sge", "srm", "triplet"}
ADDING = {"double", "gc", "mhsa", "nonlocal", "pam", "parnet", "sk"}  # with weights of 0 they add their biases


@pytest.fixture(scope="module")
def yolo11n() -> nn.Module:
    return settled("yolo11n.yaml")


def make_constant(block: nn.Module, seed: int) -> None:
    """Zero the weights and draw the biases, so that a gate does not depend on the input, and is not 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in block.named_parameters():
        if isinstance(block, NAM):
            continue  # its gate has shares of weights, which have no meaning for zeros
        leaf = name.rpartition(".")[2]
        nn.init.zeros_(parameter)
        if leaf in ("bias", "beta", "a"):
            nn.init.uniform_(parameter, -1, 1, generator=generator)


@pytest.mark.parametrize("site", KNOWN)
def test_a_factor_is_folded_where_a_linear_layer_can_take_it(yolo11n: nn.Module, site: str) -> None:
    model = copy.deepcopy(yolo11n)
    found = with_blocks(model, [site])
    constants = random_constants(found)
    folded = fold_blocks(model, constants)
    assert bool(folded.blocked) is not KNOWN[site]
    assert folded.error < 1e-10
    fixed = with_constants(model, {place: one for place, one in constants.items() if place not in folded.blocked})
    image = torch.rand(1, 3, 64, 96)
    assert largest_error(folded.network, fixed, image) < 1e-4
    if KNOWN[site]:
        assert type(folded.network).__module__ == "ultralytics.nn.tasks"
        assert not attach.grafts(folded.network)
        assert largest_error(folded.network, yolo11n, image) > 1e-3, "the factor matters at this site"
    else:
        assert "sum" in next(iter(folded.blocked.values()))
        assert len(attach.grafts(folded.network)) == len(found)


def test_many_factors_at_once(yolo11n: nn.Module) -> None:
    model = copy.deepcopy(yolo11n)
    found = with_blocks(model, sample(all_sites(model), 30))
    folded = fold_blocks(model, random_constants(found))
    assert folded.error < 1e-10
    assert len(folded.blocked) <= 8
    assert len(attach.grafts(folded.network)) == len(folded.blocked)


def test_every_constant_block_is_folded(yolo11n: nn.Module) -> None:
    model = copy.deepcopy(yolo11n)
    sites = [f"{row}.{leaf}" for leaf in ("cv1.bn", "cv2.bn", "cv2") for row in (2, 4, 6, 8, 13, 16, 19, 22)]
    sites += [*(f"{row}.m.0.cv1" for row in (2, 4, 13, 16, 19)), *(f"{row}.m.0.cv2" for row in (6, 8, 22))]
    # an offset can always move back into a batch norm, but not through a convolution with zero padding
    text = dict(zip(sorted(blocks.names(), key=lambda name: name not in ADDING), sites, strict=True))
    graft_onto(model, " + ".join(f"{name}@{site}" for name, site in text.items()))
    found = places(model)
    assert len(found) == len(blocks.names())
    for number, place in enumerate(found):
        make_constant(place.block, number)
    model.double()  # the blocks that stay amplify float32's rounding
    with observe_constants(model, found) as observation, torch.no_grad():
        image = torch.rand(2, 3, 96, 96).double()
        model(image)
        observation.commit()
    constants = {place: one for place, one in observation.constants().items() if one.error <= EXACT}
    names = {place.graft.partition("(")[0].partition("@")[0] for place in constants}
    assert not CONSTANT - names
    assert sum(not one.is_identity for one in constants.values()) > 8
    folded = fold_blocks(model, constants)
    assert not folded.blocked
    assert len(attach.grafts(folded.network)) == len(found) - len(constants)
    # on the same images: the factor of a channel that is 0 in all of them is unknown
    assert largest_error(folded.network, model, image) < 1e-5


@pytest.mark.parametrize("host", ["yolov10n.yaml", "yolov8n.yaml", pytest.param("yolov5n.yaml", marks=pytest.mark.slow),
                                  pytest.param("yolo12n.yaml", marks=[pytest.mark.slow, pytest.mark.skipif(
                                      OLD, reason="not in Ultralytics 8.3.0")]),
                                  pytest.param("yolo26n.yaml", marks=[pytest.mark.slow, pytest.mark.skipif(
                                      OLD, reason="not in Ultralytics 8.3.0")]),
                                  pytest.param("yolov9t.yaml", marks=pytest.mark.slow),
                                  pytest.param("rtdetr-resnet50.yaml", marks=pytest.mark.slow),
                                  *(pytest.param(f"yolo11n-{task}.yaml", marks=pytest.mark.slow if task != "cls" else ())
                                    for task in ("seg", "pose", "obb", "cls"))])
def test_other_hosts_and_tasks(host: str) -> None:
    model = settled(host)
    found = with_blocks(model, sample(all_sites(model), 12))
    folded = fold_blocks(model, random_constants(found))
    assert folded.error < 1e-8
    assert len(folded.blocked) < len(found) / 2


def test_blocks_that_stay_keep_their_weights_and_their_order(yolo11n: nn.Module) -> None:
    model = graft_onto(copy.deepcopy(yolo11n), "se(ratio=4)@8 + eca@8 + se@p3 + gct@8")
    for block in attach.grafts(model).values():
        for parameter in block.parameters():
            nn.init.normal_(parameter)
    found = {place.name: place for place in places(model)}
    assert list(found) == ["8", "8#2", "8#3", "p3"]
    folded = fold_blocks(model, random_constants([found["8#3"], found["p3"]]))
    assert not folded.blocked
    left = {place.name: place for place in places(folded.network)}
    assert [place.graft for place in left.values()] == ["se(ratio=4)@8", "eca@8"]
    for name in ("8", "8#2"):
        for one, other in zip(left[name].block.parameters(), found[name].block.parameters(), strict=True):
            assert torch.equal(one, other)


def test_a_block_between_two_blocks_that_stay_cannot_be_folded(yolo11n: nn.Module) -> None:
    model = graft_onto(copy.deepcopy(yolo11n), "se@8 + gct@8 + se@8")
    middle = places(model)[1]
    (reason,) = blocked_alone(model, random_constants([middle])).values()
    assert "block" in reason


def test_a_network_that_would_change_is_refused(yolo11n: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    model = graft_onto(copy.deepcopy(yolo11n), "se@8")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    monkeypatch.setattr(module, "rescale", lambda *_: None)
    with pytest.raises(GraftError, match="would change the outputs"):
        fold_blocks(model, random_constants(places(model)))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("side", ["", "/pre"])
def test_all_sites_of_yolo11n(yolo11n: nn.Module, side: str) -> None:
    model = copy.deepcopy(yolo11n)
    sites = []
    for site in all_sites(model):
        try:
            graft_onto(copy.deepcopy(yolo11n), f"gct@{site}{side}")
        except GraftError:
            continue  # a row with several inputs has no single one
        sites.append(site + side)
    constants = random_constants(with_blocks(model, sites))
    blocked = blocked_together(model, constants)
    print(f"{len(constants) - len(blocked)} of {len(constants)} places{side} can be folded")
    assert len(blocked) <= 0.12 * len(constants)
    folded = fold_blocks(model, constants)
    assert folded.error < 1e-9
