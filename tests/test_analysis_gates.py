"""The gates of grafted networks: every registered block is classified, and replaced gates act as they say."""

import pytest
import torch
from torch import Tensor, nn

from yolograft import attach, blocks
from yolograft.analysis.gates import change_of, gate_of, kind_of, mean_gates, observed, places, replaced
from yolograft.errors import BlockError

KINDS = {
    "channel": "eca ceca ese fca gct se srm",
    "spatial": "",
    "both": "bam cbam coordatt ela ema gam ge lsk lska mlca nam psa scse sge simam triplet",
    "none": "cam double gc mhsa nonlocal pam parnet shuffle sk",
}
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names.split()}


def trained(name: str, channels: int = 32, seed: int = 1) -> nn.Module:
    """Return a block with random weights, as after a training."""
    block = blocks.create(name, channels).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return block


def test_the_table_has_every_registered_block() -> None:
    assert set(KIND_OF) == set(blocks.names())


@pytest.mark.parametrize("name", blocks.names())
def test_every_block_is_classified(name: str) -> None:
    assert kind_of(blocks.create(name, 32), 32) == KIND_OF[name], "of a new block, whose gate is 1 everywhere"
    assert kind_of(trained(name), 32) == KIND_OF[name]


def test_a_classification_changes_nothing() -> None:
    block = trained("cbam")
    before = {key: value.clone() for key, value in block.state_dict().items()}
    state = torch.get_rng_state()
    kind_of(block, 32)
    assert all(torch.equal(before[key], value) for key, value in block.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", [name for name in blocks.names() if KIND_OF[name] != "none"])
def test_the_gate_times_the_input_is_the_output(name: str) -> None:
    block, x = trained(name), torch.randn(3, 32, 9, 7)
    x[:, 5] = 0
    with torch.no_grad():
        y = block(x)
    gate = gate_of(x, y, KIND_OF[name])
    torch.testing.assert_close((gate.nan_to_num() * x).float(), y, rtol=1e-4, atol=1e-5)
    if KIND_OF[name] != "spatial":
        assert gate.expand(x.shape)[:, 5].isnan().all(), "the gate of a channel of zeros is unknown"


def test_the_gate_of_se_is_its_own() -> None:
    block, x = trained("se"), torch.randn(2, 32, 5, 5)
    z = block.fc2(torch.relu(block.fc1(x.mean((2, 3), keepdim=True))))
    torch.testing.assert_close(gate_of(x, block(x), "channel").float(), 2 * z.sigmoid())


def test_a_block_that_adds_has_no_gate() -> None:
    with pytest.raises(BlockError, match="no gate"):
        gate_of(torch.ones(1, 2, 3, 3), torch.ones(1, 2, 3, 3), "none")


def test_the_change_is_relative_to_the_input() -> None:
    x = torch.ones(2, 4, 3, 3)
    y = torch.stack((x[0], 1.5 * x[1]))
    torch.testing.assert_close(change_of(x, y), torch.tensor([0.0, 0.5], dtype=torch.float64))


class Host(nn.Module):
    """Two convolutions. The graft goes on the first, so the block's input does not depend on it."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.one(x))


def grafted_host(name: str) -> Host:
    torch.manual_seed(0)
    host = Host().eval()
    attach.graft(host, f"{name}@one")
    (block,) = attach.grafts(host).values()
    block.load_state_dict(trained(name).state_dict())
    return host


@pytest.mark.parametrize("name", blocks.names())
@torch.no_grad()
def test_a_gate_of_one_is_the_bare_host(name: str) -> None:
    host, x = grafted_host(name), torch.rand(2, 3, 12, 12)
    (place,) = places(host)
    own = host(x)
    with replaced(host, {place: "one"}):
        without = host(x)
    assert torch.equal(host(x), own), "the gates are the network's own again"
    assert not torch.allclose(own, without)
    assert torch.equal(attach.prune(host)(x), without)


@pytest.mark.parametrize("name", blocks.names())
@torch.no_grad()
def test_the_gate_of_another_image(name: str) -> None:
    host, x = grafted_host(name), torch.rand(2, 3, 12, 12)
    x[1] = x[1] * torch.linspace(-2, 2, 12)
    (place,) = places(host)
    own = host(x)
    with replaced(host, {place: "other"}):
        if name not in ("nam", "lska", "gam", "shuffle"):  # whose gates of two images can be alike
            assert not torch.allclose(host(x), own, atol=1e-6)
        twice = torch.stack((x[0], x[0]))
        torch.testing.assert_close(host(twice)[0], own[0], rtol=1e-3, atol=1e-4, msg="of the same image: nothing changes")
        torch.testing.assert_close(host(x[:1])[0], own[0], rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_a_mean_gate_over_the_data_replaces_the_gate() -> None:
    host, x = grafted_host("se"), torch.rand(4, 3, 12, 12)
    (place,) = places(host)
    with mean_gates(host, (place,)) as means:
        host(x[:1])
        host(x[1:])
    features = host.one.forward(x)
    gates = gate_of(features, host.one.graft(features), "channel")
    torch.testing.assert_close(means[place], gates.mean(0).float())
    with replaced(host, {place: means[place]}):
        torch.testing.assert_close(host(x), host.two(features * means[place]))


def test_a_block_without_a_gate_has_no_mean() -> None:
    host = grafted_host("mhsa")
    (place,) = places(host)
    with mean_gates(host, (place,)) as means:
        host(torch.rand(1, 3, 12, 12))
    assert means == {}
    with pytest.raises(BlockError, match="'mhsa@one' adds or mixes"), replaced(host, {place: torch.ones(32, 1, 1)}):
        pass


def test_copies_made_inside_are_observed_too() -> None:
    import copy

    host, seen = grafted_host("se"), []
    (place,) = places(host)
    with observed(host, (place,), lambda which, x, y: seen.append((which, x.shape, y.shape))):
        copy.deepcopy(host)(torch.rand(2, 3, 8, 8))
    host(torch.rand(2, 3, 8, 8))
    assert seen == [(place, (2, 32, 8, 8), (2, 32, 8, 8))]


def test_a_failure_inside_restores_the_gates() -> None:
    host = grafted_host("se")
    (place,) = places(host)
    with pytest.raises(KeyError), replaced(host, {place: "one"}):
        raise KeyError
    assert not place.block._forward_hooks


def test_places_of_a_yolo_are_named_as_sites() -> None:
    from yolograft import YOLO

    model = YOLO("yolo11n.yaml")
    assert places(model.model) == ()
    text = "se(ratio=4)@4 + se@8 + eca@8 + cbam@p3,p5 + gct@8/pre + se(ratio=8)@backbone.6.m.0.cv2 + mhsa@backbone.10>21"
    attach.graft(model.model, text)
    found = {place.name: place for place in places(model.model)}
    assert {name: (place.graft, place.channels, place.kind) for name, place in found.items()} == {
        "4": ("se(ratio=4)@4", 128, "channel"), "8": ("se@8", 256, "channel"), "8#2": ("eca@8", 256, "channel"),
        "p3": ("cbam@p3", 64, "both"), "p5": ("cbam@p5", 256, "both"), "8/pre": ("gct@8/pre", 256, "channel"),
        "6.m.0.cv2": ("se(ratio=8)@6.m.0.cv2", 32, "channel"), "10>21": ("mhsa@10>21", 256, "none")}
    bare = YOLO("yolo11n.yaml").model
    attach.graft(bare, " + ".join(place.graft for place in found.values()))
    assert list({place.name: place.graft for place in places(bare)}.items()) == [
        (name, place.graft) for name, place in found.items()], "the text of a place is a graft at this place"
