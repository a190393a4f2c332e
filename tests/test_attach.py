"""Grafting on many hosts and sites: identity start, unchanged host keys, prune restores, an error changes nothing."""

import copy
import pickle

import pytest
import torch
import torchvision
from torch import nn
from ultralytics.nn.tasks import (
    ClassificationModel,
    DetectionModel,
    OBBModel,
    PoseModel,
    RTDETRDetectionModel,
    SegmentationModel,
)

from yolograft import Graft, GraftError, graft, prune
from yolograft.attach import grafted, grafts
from yolograft.errors import BlockError, SiteError

HOSTS = {
    "yolo11n": lambda: DetectionModel("yolo11n.yaml", verbose=False),
    "yolov8n": lambda: DetectionModel("yolov8n.yaml", verbose=False),
    "yolov10n": lambda: DetectionModel("yolov10n.yaml", verbose=False),
    "yolov9t": lambda: DetectionModel("yolov9t.yaml", verbose=False),
    "rtdetr-resnet50": lambda: RTDETRDetectionModel("rtdetr-resnet50.yaml", verbose=False),
    "yolo11n-seg": lambda: SegmentationModel("yolo11n-seg.yaml", verbose=False),
    "yolo11n-pose": lambda: PoseModel("yolo11n-pose.yaml", verbose=False),
    "yolo11n-obb": lambda: OBBModel("yolo11n-obb.yaml", verbose=False),
    "yolo11n-cls": lambda: ClassificationModel("yolo11n-cls.yaml", verbose=False),
}
TEXTS = ["se@8", "se@p3,p4,p5", "se@C3k2", "se@Bottleneck.cv2", "se@neck.C3k2[-1]/pre", "se@16>17", "se@10>11&21",
         "se@8 + se(gate=tanh)@8 + se(gate=relu, ratio=4)@8", "se(gate=hardsigmoid, squeeze=max)@model.*.m.**.cv2"]


def warm_up(host: nn.Module) -> nn.Module:
    """Update the batch norms of a host with random weights; otherwise its output hardly depends on its features."""
    host.train()
    with torch.no_grad():
        for _ in range(2):
            host(torch.rand(2, 3, 64, 64))
    return host.eval()


def first_tensor(output: object) -> torch.Tensor:
    while isinstance(output, (list, tuple)):
        output = output[0]
    assert isinstance(output, torch.Tensor)
    return output


@pytest.mark.parametrize("name", HOSTS)
def test_a_new_graft_is_the_identity_on_every_task(name: str) -> None:
    torch.manual_seed(0)
    host = HOSTS[name]().eval()
    size = 160 if "rtdetr" in name else 64  # RT-DETR selects 300 queries: 8.3 needs at least as many positions
    x = torch.rand(1, 3, size, size)
    with torch.no_grad():
        before = first_tensor(host(x)).clone()
        keys = {key: value.clone() for key, value in host.state_dict().items()}
        last = next(i for i in range(len(host.model) - 2, -1, -1) if type(host.model[i]).__name__ not in ("Concat",))
        graft(host, f"se@2 + se@{last}")
        assert torch.equal(first_tensor(host(x)), before)
    after = host.state_dict()
    assert all(torch.equal(after[key], value) for key, value in keys.items())
    assert len(after) == len(keys) + 8


@pytest.fixture(scope="module")
def warm_host() -> nn.Module:
    torch.manual_seed(1)
    return warm_up(HOSTS["yolo11n"]())


@pytest.mark.parametrize("text", TEXTS)
def test_requirements_for_every_graft(warm_host: nn.Module, text: str) -> None:
    host, x = copy.deepcopy(warm_host), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = host(x)[0].clone()
        keys = list(host.state_dict())
        state = torch.get_rng_state()
        graft(host, text)
        assert torch.equal(torch.get_rng_state(), state), "the caller's random state changed"
        assert torch.equal(host(x)[0], before), "a new graft changes the output"
        assert [key for key in host.state_dict() if key in set(keys)] == keys, "a host key changed"
        copied = copy.deepcopy(host)
        for block in grafts(copied).values():
            block.fc2.bias.fill_(1.5)
        assert not torch.equal(copied(x)[0], before), "a changed copy does not run its own blocks"
        assert torch.equal(host(x)[0], before), "a change to a copy changed the original"
        assert torch.equal(pickle.loads(pickle.dumps(copied))(x)[0], copied(x)[0]), "pickling changes the model"
        assert str(grafted(host)) == str(grafted(pickle.loads(pickle.dumps(host))))
        prune(host)
        assert list(host.state_dict()) == keys
        assert torch.equal(host(x)[0], before)
        assert not grafted(host)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in host.modules())


def test_a_paper_gate_halves_the_features_at_its_site_and_an_identity_gate_does_not(warm_host: nn.Module) -> None:
    seen: dict[str, torch.Tensor] = {}
    for init in ("identity", "paper"):
        host = graft(copy.deepcopy(warm_host), f"se(init={init})@8")
        host.model[9].register_forward_pre_hook(lambda m, args, init=init: seen.__setitem__(init, args[0].clone()))
        with torch.no_grad():
            host(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))
    ratio = seen["paper"].norm() / seen["identity"].norm()
    assert 0.35 < ratio < 0.65, ratio


def test_only_the_chosen_reader_sees_an_edge(warm_host: nn.Module) -> None:
    seen = {}
    for text in ("none", "se(init=paper)@p3", "se(init=paper)@16>17"):
        host = graft(copy.deepcopy(warm_host), text)
        for row in (17, 23):
            host.model[row].register_forward_pre_hook(
                lambda m, args, key=(text, row): seen.__setitem__(key, first_tensor(args[0]).clone()))
        with torch.no_grad():
            host(torch.full((1, 3, 64, 64), 0.5))
    assert torch.equal(seen["none", 17], seen["se(init=paper)@p3", 17])
    assert torch.equal(seen["none", 23], seen["se(init=paper)@16>17", 23])


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("foo@8", BlockError, ["No block is named 'foo'"]),
        ("se(rato=3)@8", BlockError, ["Did you mean 'ratio'"]),
        ("se(ratio=0)@8", BlockError, ["at least 1"]),
        ("se(gate=softmax)@8", BlockError, ["sigmoid, tanh, relu, hardsigmoid"]),
        ("se@23", SiteError, ["needs (B, C, H, W)", "'p3', 'p4', 'p5'"]),
        ("se@12/pre", SiteError, ["Concat reads 2 maps"]),
        ("se@8,C3k2", SiteError, ["are the same place"]),
        ("se@model.2.m", SiteError, ["never called"]),
        ("foo@8 + se@nix + se(x=1)@8", GraftError, ["3 parts of the graft do not fit", "foo", "nix", "'x'"]),
    ],
)
def test_an_invalid_graft_changes_nothing(warm_host: nn.Module, text: str, kind: type, words: list[str]) -> None:
    host = copy.deepcopy(warm_host)
    before = pickle.dumps(host.state_dict())
    with pytest.raises(kind) as caught:
        graft(host, f"se@2 + {text}")
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert pickle.dumps(host.state_dict()) == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in host.modules())


def test_a_resnet_takes_the_papers_standard_place() -> None:
    host = torchvision.models.resnet18().eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = host(x)
        graft(host, "se(ratio=16)@layer*.*.bn2 + se@layer4")
        assert torch.equal(host(x), before)
    assert len(grafts(host)) == 9
    assert len(host.layer4) == 2, "a Sequential must not grow"


def test_gradients_reach_a_block_from_the_first_step(warm_host: nn.Module) -> None:
    host = graft(copy.deepcopy(warm_host), "se@8")
    first_tensor(host(torch.rand(2, 3, 64, 64))).square().mean().backward()
    block = grafts(host)["model.8.graft.0"]
    assert block.fc2.weight.grad.abs().sum() > 0


def test_a_second_graft_adds_to_the_first(warm_host: nn.Module) -> None:
    host = graft(graft(copy.deepcopy(warm_host), "se@8"), Graft.parse("se(ratio=4)@8,9"))
    assert [str(part.sites[0]) for part in grafted(host).parts] == ["8", "8"]
    assert list(grafts(host)) == ["model.8.graft.0", "model.8.graft.1", "model.9.graft.0"]
