"""The loss over foreground anchors and its gradient equal Ultralytics'; on a difference, Ultralytics' own loss runs."""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from ultralytics.cfg import get_cfg
from ultralytics.utils.loss import BboxLoss, v8DetectionLoss

from yolograft import YOLO, box_loss
from yolograft.fast.cpu import assigner_loss
from yolograft.host.box_loss import patch_box_loss

REASON = assigner_loss.KERNEL.unavailable_reason()
needs = pytest.mark.skipif(bool(REASON), reason=f"not on this machine: {REASON}")
SIDE, CLASSES = 96, 7
SHAPES = [(12, 12), (6, 6), (3, 3)]


@functools.cache
def in_dict() -> bool:
    """Return whether the installed version's head returns a dict, and not a list of maps."""
    return isinstance(YOLO("yolo11n.yaml").model.train()(torch.zeros(1, 3, 64, 64)), dict)


@functools.cache
def host() -> Any:
    found = YOLO("yolo11n.yaml").model
    found.args, found.model[-1].nc, found.model[-1].no = get_cfg(), CLASSES, CLASSES + 64
    return found


@pytest.fixture
def criterion() -> Any:
    return v8DetectionLoss(host())


def outputs(pictures: int, spread: float = 2.0) -> tuple[Any, list[Tensor]]:
    """Return a head's output, in the installed version's form, and the leaf tensors that get gradients."""
    maps = [spread * torch.randn(pictures, 64 + CLASSES, *shape) for shape in SHAPES]
    if not in_dict():
        leaves = [one.requires_grad_() for one in maps]
        return leaves, leaves
    whole = torch.cat([one.flatten(2) for one in maps], 2)
    boxes, scores = (one.clone().requires_grad_() for one in whole.split((64, CLASSES), 1))
    return {"boxes": boxes, "scores": scores, "feats": [one[:, :8] for one in maps]}, [boxes, scores]


def truths(pictures: int, boxes: int, smallest: float = 0.02) -> dict[str, Tensor]:
    size = smallest + (0.9 - smallest) * torch.rand(boxes, 2)
    centre = size / 2 + torch.rand(boxes, 2) * (1 - size)
    return {"img": torch.empty(pictures, 3, SIDE, SIDE), "cls": torch.randint(CLASSES, (boxes, 1)).float(),
            "batch_idx": torch.randint(pictures, (boxes,)).sort().values.float(), "bboxes": torch.cat((centre, size), 1)}


def items(given: Any) -> Tensor:
    return torch.stack(list(given.values())) if isinstance(given, dict) else given


def both(criterion: Any, pictures: int, boxes: int, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Return the three losses and the gradient: of yolograft, then of Ultralytics."""
    found = []
    in_dict()  # its first call draws random numbers
    for ours in (True, False):
        torch.manual_seed(seed)
        preds, leaves = outputs(pictures)
        batch = truths(pictures, boxes)
        if ours:
            losses = assigner_loss.compute_loss(criterion, preds, batch)
            assume(losses is not None)
            (losses.sum() * pictures).backward()
        else:
            whole, losses = assigner_loss._stock(criterion, preds, batch)
            whole.sum().backward()
        found.append((items(losses).detach(), torch.cat([one.grad.flatten() for one in leaves])))
    return found


@needs
@settings(max_examples=80, deadline=None)
@given(st.integers(1, 5), st.integers(1, 25), st.integers(0, 2**31))
def test_loss_and_gradient_equal_ultralytics(pictures: int, boxes: int, seed: int) -> None:
    (losses, gradient), (exact, right) = both(v8DetectionLoss(host()), pictures, boxes, seed)
    torch.testing.assert_close(losses, exact, rtol=1e-4, atol=1e-6)
    assert float((gradient - right).norm() / right.norm()) < 1e-4


class WriteCounter(TorchDispatchMode):
    """Counts the numbers that PyTorch's operators write, without views."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {one.untyped_storage().data_ptr() for one in tree_leaves(args) if isinstance(one, Tensor)}
        self.numbers += sum(one.numel() for one in tree_leaves(found)
                            if isinstance(one, Tensor) and one.untyped_storage().data_ptr() not in given)
        return found


@needs
def test_it_writes_a_fraction_of_the_numbers_that_ultralytics_writes(criterion: Any) -> None:
    in_dict()  # its first call draws random numbers
    written = []
    for ours in (True, False):
        torch.manual_seed(0)
        preds, _ = outputs(4)
        batch = truths(4, 9, smallest=0.3)
        with WriteCounter() as counted:
            losses = (assigner_loss.compute_loss(criterion, preds, batch) if ours
                      else assigner_loss._stock(criterion, preds, batch)[0])
            losses.sum().backward()
        written.append(counted.numbers)
    assert 0 < 1.5 * written[0] < written[1]


@needs
def test_the_number_of_threads_changes_nothing(criterion: Any) -> None:
    threads, found = torch.get_num_threads(), []
    in_dict()  # its first call draws random numbers
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            torch.manual_seed(0)
            preds, _ = outputs(4)
            boxes, scores, _ = assigner_loss._head_output(criterion, preds)
            points, strides = assigner_loss._anchors(tuple(SHAPES), (8.0, 16.0, 32.0))
            listed = truths(4, 9, smallest=0.3)
            size = torch.tensor([SIDE, SIDE, SIDE, SIDE]).float()
            rows = torch.cat((listed["batch_idx"][:, None], listed["cls"], listed["bboxes"]), 1)
            boxed = criterion.preprocess(rows, 4, scale_tensor=size)
            found.append(assigner_loss.assign_targets(
                boxes[:, :4].abs(), scores, points, strides, boxed, criterion.assigner))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))
    assert len(found[0][0]) > 9


@needs
def test_an_invalid_batch_goes_to_ultralytics(criterion: Any) -> None:
    torch.manual_seed(0)
    assert assigner_loss.compute_loss(criterion, outputs(2)[0], truths(2, 0)) is None
    preds, leaves = outputs(2)
    with torch.no_grad():
        for leaf in leaves:
            leaf.fill_(float("nan"))
    assert assigner_loss.compute_loss(criterion, preds, truths(2, 5)) is None
    beyond = truths(2, 5)
    beyond["cls"][3] = CLASSES
    assert assigner_loss.compute_loss(criterion, outputs(2)[0], beyond) is None, "memory beyond the classes must not be read"
    criterion.class_weights = torch.ones(1, 1, CLASSES)
    assert assigner_loss.compute_loss(criterion, outputs(2)[0], truths(2, 5)) is None


@needs
def test_a_loss_of_another_class_goes_to_ultralytics(criterion: Any) -> None:
    class Other(v8DetectionLoss):
        pass

    torch.manual_seed(0)
    assert assigner_loss.compute_loss(criterion, outputs(2)[0], truths(2, 5)) is not None
    assert assigner_loss.compute_loss(Other(host()), outputs(2)[0], truths(2, 5)) is None
    criterion.assigner = type("Other", (type(criterion.assigner),), {})()
    assert assigner_loss.compute_loss(criterion, outputs(2)[0], truths(2, 5)) is None


@needs
def test_the_patched_call_returns_what_ultralytics_returns(criterion: Any) -> None:
    in_dict()  # its first call draws random numbers

    def called(seed: int) -> tuple[Any, Any]:
        torch.manual_seed(seed)
        with torch.no_grad():
            return criterion(outputs(3)[0], truths(3, 12))

    stock = [called(seed) for seed in range(6)]
    with assigner_loss.patch_loss():
        assert v8DetectionLoss.__call__ is not assigner_loss._stock
        found = [called(seed) for seed in range(6)]
        assert assigner_loss._verifications[criterion].values_left == 0, "only the first batches are verified"
    assert v8DetectionLoss.__call__ is assigner_loss._stock
    for (whole, losses), (exact, right) in zip(found, stock, strict=True):
        assert whole.shape == exact.shape
        assert type(losses) is type(right)
        assert not isinstance(losses, dict) or list(losses) == list(right)
        torch.testing.assert_close(whole, exact, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(items(losses), items(right), rtol=1e-4, atol=1e-6)


@needs
@pytest.mark.parametrize("name", box_loss.names())
def test_every_box_loss_equals_that_of_all_anchors(name: str) -> None:
    """The first batches are computed in both ways. The running mean of WIoU must change once for each batch."""
    in_dict()  # its first call draws random numbers
    found = []
    for patch in (nullcontext, assigner_loss.patch_loss):
        loss = box_loss.BoxLoss.parse(name)
        with patch_box_loss(lambda loss=loss: loss, lambda: tuple(map(float, host().stride))):
            criterion = v8DetectionLoss(host())
        with patch():
            for seed in range(8):
                torch.manual_seed(seed)
                preds, leaves = outputs(3)
                whole, losses = criterion(preds, truths(3, 12))
                whole.sum().backward()
                found.append((items(losses).detach(), torch.cat([one.grad.flatten() for one in leaves]), loss.mean))
        if patch is not nullcontext:
            assert assigner_loss._verifications[criterion].gradients_left == 0
            assert not assigner_loss._verifications[criterion].failed
    for (losses, gradient, mean), (exact, right, exact_mean) in zip(found[8:], found[:8], strict=True):
        torch.testing.assert_close(losses, exact, rtol=1e-4, atol=1e-6)
        assert float((gradient - right).norm() / right.norm()) < 1e-4
        assert mean == pytest.approx(exact_mean, rel=1e-5)
    assert (found[-1][2] != 1) == (name == "wiou")


@needs
def test_on_a_difference_ultralytics_own_loss_runs_and_the_log_tells_why(
    criterion: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []
    monkeypatch.setattr(assigner_loss.LOGGER, "info", messages.append)
    stock = BboxLoss.forward

    # like a newer version that weights the box loss of a whole batch: the reduced call has no batch dimension
    @functools.wraps(stock)
    def weighed(self: Any, pred_dist: Tensor, *rest: Any) -> tuple[Tensor, ...]:
        return tuple(one * (1.5 if pred_dist.dim() == 3 else 1) for one in stock(self, pred_dist, *rest))

    monkeypatch.setattr(BboxLoss, "forward", weighed)
    with assigner_loss.patch_loss(), torch.no_grad():
        for seed in range(3):
            torch.manual_seed(seed)
            found, _ = criterion(outputs(3)[0], truths(3, 12))
            torch.manual_seed(seed)
            exact, _ = assigner_loss._stock(criterion, outputs(3)[0], truths(3, 12))
            assert torch.equal(found, exact)
    assert len(messages) == 1
    assert "Ultralytics' own code computes the loss" in messages[0]


def test_without_a_compiler_the_loss_is_not_patched(uncompiled: Callable[[Any], None]) -> None:
    uncompiled(assigner_loss)
    assert "no C compiler" in assigner_loss.KERNEL.unavailable_reason()
    with assigner_loss.patch_loss():
        assert v8DetectionLoss.__call__ is assigner_loss._stock


@needs
def test_a_different_gradient_is_found_although_the_values_are_equal(
    criterion: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages: list[str] = []
    monkeypatch.setattr(assigner_loss.LOGGER, "info", messages.append)
    ours = assigner_loss.compute_loss

    def halved(*args: Any) -> Tensor | None:
        found = ours(*args)
        return None if found is None else found.detach() + (found - found.detach()) / 2

    monkeypatch.setattr(assigner_loss, "compute_loss", halved)
    in_dict()  # its first call draws random numbers
    with assigner_loss.patch_loss():
        with torch.no_grad():  # only values are compared, and they are equal
            for seed in range(4):
                torch.manual_seed(seed)
                criterion(outputs(3)[0], truths(3, 12))
        assert not messages
        torch.manual_seed(0)
        preds, leaves = outputs(3)
        batch = truths(3, 12, smallest=0.3)
        criterion(preds, batch)[0].sum().backward()
    found = [one.grad.clone() for one in leaves]
    for one in leaves:
        one.grad = None
    assigner_loss._stock(criterion, preds, batch)[0].sum().backward()
    assert all(torch.equal(one, other.grad) for one, other in zip(found, leaves, strict=True))
    assert "the gradients differ by 0.5 of the norm" in messages[0]


@needs
def test_the_signature_of_the_box_loss_is_looked_up_once(criterion: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lookups, signature = [], assigner_loss.inspect.signature
    monkeypatch.setattr(assigner_loss.inspect, "signature", lambda one: lookups.append(one) or signature(one))
    assigner_loss._accepts_stride.cache_clear()
    for seed in range(3):
        torch.manual_seed(seed)
        assigner_loss.compute_loss(criterion, outputs(3)[0], truths(3, 12, smallest=0.3))
    assert len(lookups) == 1
