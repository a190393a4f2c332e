"""Statistics of gates equal those of all gates kept, and each word of gate health has its case."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from yolograft import blocks
from yolograft.analysis.block_training import new_block
from yolograft.analysis.gate_statistics import Collector, cells_of
from yolograft.analysis.gates import Place, kind_of
from yolograft.analysis.health import Health, judge


def place_of(name: str, channels: int = 8, **settings: object) -> Place:
    block = blocks.create(name, channels, **settings)
    inner = ", ".join(f"{key}={value}" for key, value in settings.items())
    return Place(name="8", graft=f"{name}({inner})@8" if inner else f"{name}@8", block=block, channels=channels,
                 kind=kind_of(block, channels))


def batch_of(kinds: list[list[int]], boxes: list[float] | None = None) -> dict[str, object]:
    owner = [number for number, of_image in enumerate(kinds) for _ in of_image]
    return {"img": torch.rand(len(kinds), 3, 16, 16), "im_file": [f"{number}.png" for number in range(len(kinds))],
            "batch_idx": torch.tensor(owner, dtype=torch.float32),
            "cls": torch.tensor([kind for of_image in kinds for kind in of_image], dtype=torch.float32).reshape(-1, 1),
            "bboxes": torch.tensor([boxes or [0.25, 0.25, 0.5, 0.5]] * len(owner)).reshape(-1, 4)}


def collected(place: Place, gates: list[torch.Tensor], kinds: list[list[list[int]]], x: torch.Tensor | None = None):
    """Return the summary and the examples of a block that multiplies with given gates, batch by batch."""
    collector = Collector([place])
    for gate, of_batch in zip(gates, kinds, strict=True):
        features = torch.rand(len(gate), place.channels, 4, 4) + 0.5 if x is None else x
        collector.observe(place, features, features * gate)
        collector.add(batch_of(of_batch))
    return collector.summaries()[place], collector.examples


def test_running_moments_equal_those_of_all_gates() -> None:
    torch.manual_seed(0)
    gates = [torch.rand(5, 8, 1, 1) + 0.5 for _ in range(3)]
    kinds = [[[0], [1], [0, 1], [], [0, 0]], [[1]] * 5, [[0]] * 5]
    found, examples = collected(place_of("se"), gates, kinds)
    together = torch.cat(gates)[:, :, 0, 0].double().numpy()
    np.testing.assert_allclose(found.mean, together.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.spread, together.std(0, ddof=1), atol=1e-6)
    has_zero = [0 in one for of_batch in kinds for one in of_batch]
    np.testing.assert_allclose(found.classes[0].mean, together[has_zero].mean(0), atol=1e-6)
    np.testing.assert_allclose(found.classes[0].spread, together[has_zero].std(0, ddof=1), atol=1e-6)
    assert found.classes[0].images == sum(has_zero)
    assert found.classes[-1].images == 1, "the image without objects"
    assert found.moved == pytest.approx(np.abs(together - 1).mean(), abs=1e-6), "a new block has the gate 1"
    assert found.minimum == pytest.approx(together.min(), abs=1e-6)
    assert found.near[1.0] == pytest.approx((np.abs(together - 1) < 0.05).mean())
    assert found.spread_in_image == pytest.approx(0, abs=1e-6)
    assert examples == [], "a channel gate has no map"


def test_the_order_of_images_and_the_size_of_batches_do_not_matter() -> None:
    torch.manual_seed(0)
    x, gate, kinds = torch.rand(6, 8, 4, 4), torch.rand(6, 8, 1, 1), [[0], [1], [0], [1], [0], [1]]
    found = []
    for parts in ([[0, 1, 2, 3, 4, 5]], [[5, 3], [0, 1, 2, 4]]):
        collector, place = Collector([one := place_of("se")]), one
        for part in parts:
            collector.observe(place, x[part], x[part] * gate[part])
            collector.add(batch_of([kinds[i] for i in part]))
        found.append(collector.summaries()[place])
    np.testing.assert_allclose(found[0].mean, found[1].mean)
    assert found[0].eta_squared == pytest.approx(found[1].eta_squared)


def test_eta_squared_is_1_for_a_gate_of_the_class_and_small_for_noise() -> None:
    torch.manual_seed(0)
    kinds = [[number % 2] for number in range(40)]
    of_class = torch.tensor([0.5 + kind[0] for kind in kinds]).reshape(-1, 1, 1, 1).expand(-1, 8, 1, 1)
    found, _ = collected(place_of("se"), [of_class], [kinds])
    assert found.eta_squared == pytest.approx(1)
    found, _ = collected(place_of("se"), [torch.rand(40, 8, 1, 1)], [kinds])
    assert found.eta_squared < 0.1
    assert found.eta_chance == pytest.approx(1 / 39)


def test_eta_squared_without_variance_is_0() -> None:
    found, _ = collected(place_of("se"), [torch.ones(4, 8, 1, 1)], [[[0], [1], [0], [1]]])
    assert found.eta_squared == 0


def test_a_channel_of_zeros_has_no_gate_but_the_others_do() -> None:
    x = torch.rand(2, 8, 4, 4)
    x[:, 3] = 0
    found, _ = collected(place_of("se"), [torch.full((2, 8, 1, 1), 0.7)], [[[0], [1]]], x)
    np.testing.assert_allclose(np.delete(found.mean, 3), 0.7, atol=1e-6)
    assert found.near[0.0] == 0, "an unknown gate is not a gate of 0"


def test_the_gate_inside_boxes_of_a_spatial_gate() -> None:
    gate = torch.full((2, 1, 4, 4), 0.5)
    gate[:, :, :2, :2] = 2
    found, examples = collected(place_of("cbam"), [gate], [[[0], [1, 1]]])
    assert (found.boxes[0].boxes, found.boxes[1].boxes) == (1, 2)
    assert found.boxes[0].inside == pytest.approx(2)
    assert found.boxes[0].outside == pytest.approx(0.5)
    assert found.spread_in_image == pytest.approx(np.std(gate[0].numpy()), abs=1e-6)
    assert [example.file for example in examples] == ["0.png", "1.png"], "one for each class"
    np.testing.assert_allclose(examples[0].maps["8"], gate[0, 0], atol=1e-6)
    np.testing.assert_allclose(examples[0].boxes, [[0, 0, 8, 8]])


@pytest.mark.parametrize(("box", "expected"), [
    ((0, 0, 0.5, 0.5), (slice(0, 2), slice(0, 2))), ((0.3, 0.9, 0.31, 0.91), (slice(3, 4), slice(1, 2))),
    ((-0.2, -0.2, 1.2, 1.2), (slice(0, 4), slice(0, 4))), ((0.99, 0.99, 1.5, 1.5), (slice(3, 4), slice(3, 4)))])
def test_the_cells_that_a_box_touches(box: tuple[float, ...], expected: tuple[slice, slice]) -> None:
    inside = cells_of(np.array(box), (4, 4))
    other = np.zeros((4, 4), bool)
    other[expected] = True
    assert (inside == other).all()


def test_a_block_that_adds_is_described_by_its_change() -> None:
    place = place_of("mhsa")
    collector, x = Collector([place]), torch.rand(2, 8, 4, 4)
    collector.observe(place, x, 1.1 * x)
    collector.add(batch_of([[0], [1]]))
    found = collector.summaries()[place]
    assert found.mean == pytest.approx([0.1], abs=1e-6)
    assert found.moved == pytest.approx(0.1, abs=1e-6)
    assert found.change == pytest.approx(0.1, abs=1e-6)


def _health(gate: torch.Tensor, kinds: list[list[int]] | None = None) -> Health:
    found, _ = collected(place_of("se"), [gate], [kinds or [[number % 2] for number in range(len(gate))]])
    return judge(found, "channel")


def test_every_word_of_gate_health_has_its_case() -> None:
    torch.manual_seed(0)
    noise = torch.randn(20, 8, 1, 1)
    by_channel = torch.linspace(0.2, 1.8, 8).reshape(1, 8, 1, 1)
    of_class = torch.tensor([number % 2 for number in range(20)]).reshape(-1, 1, 1, 1)
    assert _health(1 + 0.01 * noise) is Health.ONE
    assert _health(0.5 + 0.01 * noise) is Health.HALF
    assert _health(0.01 * noise.abs()) is Health.DEAD
    assert _health(by_channel + 0.0001 * noise) is Health.CONSTANT
    assert _health(by_channel + 0.2 * noise) is Health.VARYING
    assert _health(by_channel + 0.05 * noise + 0.3 * of_class) is Health.CLASS
    found, _ = collected(place_of("se"), [1 + 0.2 * noise], [[[0]] * 20])
    assert judge(dataclasses.replace(found, change=0.001), "none") is Health.UNCHANGED
    assert judge(dataclasses.replace(found, change=0.1), "none") is Health.VARYING


def test_a_new_block_is_the_block_of_the_text() -> None:
    place = place_of("se", ratio=2)
    state = torch.get_rng_state()
    assert new_block(place).fc1.out_channels == 4
    assert torch.equal(torch.get_rng_state(), state)


def test_a_paper_gate_that_learned_nothing_has_not_moved() -> None:
    place = place_of("se", init="paper")
    place = dataclasses.replace(place, block=new_block(place))
    collector, x = Collector([place]), torch.rand(4, 8, 4, 4)
    with torch.no_grad():
        collector.observe(place, x, place.block(x))
    collector.add(batch_of([[0], [1], [0], [1]]))
    found = collector.summaries()[place]
    assert found.moved == 0
    assert isinstance(place.block, nn.Module)
