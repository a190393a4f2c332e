"""Heat maps: the equations by hand, every site, and the known troubles of `grad-cam` with YOLO."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from ultralytics.engine.model import Model

from yolograft import YOLO, sites
from yolograft.analysis import heatmap
from yolograft.analysis.candidates import Detector, Letterbox, Target
from yolograft.analysis.heatmap import METHODS, heat_map, principal_map, tap_layers
from yolograft.errors import GraftError, SiteError

TINY = Path(__file__).parent / "golden" / "0.1.0" / "tiny.yaml"


def test_without_the_package_one_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch_grad_cam", None)
    with pytest.raises(GraftError, match=r'pip install "yolograft\[inside\]"'):
        heatmap.check_method("gradcam")


def tiny(graft: str = "none") -> Any:
    """Build a tiny detector with random weights and settled batch norms."""
    torch.manual_seed(0)
    model = YOLO(TINY, graft=graft)
    model.model.train()
    with torch.no_grad():
        model.model(torch.rand(4, 3, 64, 64))
    model.model.eval()
    return model


def target_of(detector: Detector, images: torch.Tensor) -> Target:
    found = detector.candidates(images, Letterbox.of((64, 64), 64), conf=0)
    return found.target(int(found.logits.max(axis=1).argmax()))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))


class TestWithThePackage:
    @pytest.fixture(autouse=True)
    def _package(self) -> None:
        pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")

    def test_every_site_has_a_map(self, images: torch.Tensor) -> None:
        model = tiny("se@8 + cbam@p3 + eca@C3k2/pre")
        named = [one["names"][-1] for one in sites(model)] + ["C3k2.cv1", "8/pre", "3>7", "C3k2"]
        for number, name in enumerate(dict.fromkeys(named)):
            detector = Detector(model)
            layers = tap_layers(detector, [name])
            found = heat_map(detector, images, target_of(detector, images), layers, METHODS[number % len(METHODS)])
            assert found.shape == (64, 64)
            assert found.dtype == np.float32
            assert 0 <= found.min() <= found.max() <= 1

    def test_gradcam_and_layercam_are_their_equations(self, images: torch.Tensor) -> None:
        """Row 3 is read by row 4 and by row 7, and a SiLU changes maps in place: neither may disturb map and gradient."""
        detector = Detector(tiny())
        layers = tap_layers(detector, ["3"])
        target = target_of(detector, images)
        other = Detector(tiny())
        for module in other.modules():
            if isinstance(module, nn.SiLU):
                module.inplace = False
        kept: list[torch.Tensor] = []
        other.network.model[3].register_forward_hook(lambda _, __, output: kept.append(output))
        logits = other(images.clone().requires_grad_())
        gradient = torch.autograd.grad(logits[0, target.anchor, target.kind], kept[0])[0][0].numpy()
        features = kept[0][0].detach().numpy()
        for method, raw in (("gradcam", (gradient.mean((1, 2))[:, None, None] * features).sum(0)),
                            ("layercam", (np.maximum(gradient, 0) * features).sum(0))):
            import cv2

            low = np.maximum(raw, 0)
            low = (low - low.min()) / (1e-7 + low.max() - low.min())
            expected = cv2.resize(low.astype(np.float32), (64, 64))
            found = heat_map(detector, images, target, layers, method)
            np.testing.assert_allclose(found, expected / expected.max(), atol=2e-3)

    def test_the_map_of_one_edge_has_the_gradient_of_that_edge_alone(self, images: torch.Tensor) -> None:
        """The inputs of the head are read by other rows, too: the box of one level has no gradient at another's input."""
        torch.manual_seed(0)
        model = YOLO("yolo11n.yaml")
        detector = Detector(model)
        layers = tap_layers(detector, ["p3", "p4"])
        found = detector.candidates(images, Letterbox.of((64, 64), 64), conf=0)
        small = found.target(int(np.flatnonzero(found.strides == 8)[0]))
        large = found.target(int(np.flatnonzero(found.strides == 16)[0]))
        assert not heat_map(detector, images, large, layers[:1], "layercam").any()
        assert not heat_map(detector, images, small, layers[1:], "layercam").any()

    def test_eigencam_is_that_of_the_package_but_for_the_sign(self) -> None:
        from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

        features = np.random.default_rng(0).normal(size=(12, 6, 7)).astype(np.float32)
        ours, theirs = principal_map(features), get_2d_projection(features[None])[0]
        assert min(np.abs(ours - theirs).max(), np.abs(ours + theirs).max()) < 1e-4
        assert ours.max() >= -ours.min()
        np.testing.assert_allclose(principal_map(-features), ours, atol=1e-6)

    def test_no_training_starts(self, images: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
        def train(*_: Any, **__: Any) -> None:
            raise AssertionError("a training was started")

        monkeypatch.setattr(Model, "train", train)
        detector = Detector(tiny())
        heat_map(detector, images, target_of(detector, images), tap_layers(detector, []), "eigencam")

    def test_maps_are_the_same_each_time(self, images: torch.Tensor) -> None:
        model = tiny("se@8")
        maps = []
        for _ in range(2):
            detector = Detector(model)
            maps += [[heat_map(detector, images, target_of(detector, images), tap_layers(detector, []), method)
                      for method in METHODS]]
        np.testing.assert_array_equal(maps[0], maps[1])

    def test_the_model_keeps_its_hooks_and_its_blocks(self, images: torch.Tensor) -> None:
        model = tiny("se@8")
        before = {name: (len(one._forward_hooks), len(one._forward_pre_hooks)) for name, one in model.model.named_modules()}
        detector = Detector(model)
        heat_map(detector, images, target_of(detector, images), tap_layers(detector, ["8", "p3"]), "gradcam")
        assert before == {name: (len(one._forward_hooks), len(one._forward_pre_hooks))
                          for name, one in model.model.named_modules()}

    def test_a_module_that_runs_several_times_is_refused(self) -> None:
        with pytest.raises(SiteError, match=r"'model\.0\.act' cannot be grafted|runs several times"):
            tap_layers(Detector(tiny()), ["model.0.act"])

    def test_a_site_that_does_not_exist_is_refused(self) -> None:
        with pytest.raises(SiteError, match="No site 'p9'"):
            tap_layers(Detector(tiny()), ["p9"])

    def test_an_unknown_method_names_the_nearest(self) -> None:
        with pytest.raises(GraftError, match="Did you mean 'gradcam'"):
            heatmap.check_method("grad-cam")


def test_a_map_is_cut_and_scaled_to_the_picture() -> None:
    heat = np.zeros((64, 64), np.float32)
    heat[16:48, :32] = 1
    box = Letterbox.of((50, 100), 64)
    window = (slice(16, 48), slice(0, 64))
    found = heatmap.on_picture(heat, window, box.shape)
    assert found.shape == (50, 100)
    assert (found[:, :45] == 1).all()
    assert (found[:, 55:] == 0).all()
