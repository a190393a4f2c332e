"""Heat maps of one box of a detector: Grad-CAM, LayerCAM and EigenCAM through the package `grad-cam`.

A map explains one number, the logit of one class at one anchor point before non-maximum suppression (`Target`), and not a
sum over all boxes. For a feature map A (C, H, W) and the gradient G of that logit with respect to A:

    gradcam   ReLU(sum_c mean(G_c) A_c)           Selvaraju et al., ICCV 2017, equations 1 and 2
    layercam  ReLU(sum_c ReLU(G_c) * A_c)         Jiang et al., IEEE TIP 2021, equations 4 to 6
    eigencam  projection of A on the first principal component of its channels   Muhammad & Yeasin, IJCNN 2020

EigenCAM uses no gradient: its map is the same for every box of a picture.

Deviations from `grad-cam`, each with its reason:
- The package gets a network that returns one tensor, not the tuple of an Ultralytics model (its issue 507), and never the
  `YOLO` object: the package calls `eval()`, which calls `train(False)`, and that starts a training (its issue 386).
- The package keeps a reference to the feature map. Ultralytics' activations change it in place (its issue 402), so the map
  is copied where it is read.
- Several layers are one call each. In one call, the package pairs maps with gradients by the order of the backward pass,
  which is another one for the inputs of a head.
- EigenCAM of the package computes an (H W, H W) matrix, which takes gigabytes for an early layer, and its sign is random.
  Ours uses the (C, C) covariance. The sign is chosen so that the side with the larger value is hot (Chung & Ying, Applied
  Sciences 2025, equation 13).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from yolograft.analysis.candidates import Detector, Target
from yolograft.attach import Tap, tap
from yolograft.errors import GraftError, SiteError, nearest
from yolograft.language import tr

__all__ = ["METHODS", "HeatMap", "Layer", "check_method", "head_inputs", "heat_map", "on_picture", "principal_map",
           "tap_layers"]

METHODS = ("layercam", "gradcam", "eigencam")
HeatMap = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A place whose feature map a heat map reads: its tap, and the stride of its map in pixels of the network's input."""

    tap: Tap
    stride: int


def check_method(method: str) -> None:
    """Raise `GraftError` if there is no such method, or if the package `grad-cam` is not installed."""
    if method not in METHODS:
        raise GraftError(tr("method={method} does not exist.{nearest} Known: {known}.", method=method,
                            nearest=nearest(method, METHODS), known=", ".join(METHODS)))
    try:
        import pytorch_grad_cam  # noqa: F401
    except ImportError as error:
        raise GraftError(tr("Heat maps need the package grad-cam, which is not installed: "
                            "pip install \"yolograft[inside]\"")) from error


def tap_layers(detector: Detector, sites: Sequence[str]) -> list[Layer]:
    """Attach taps to a detector at sites of its network, in place, and return the layers.

    Args:
        detector: the detector.
        sites: such as `8` or `p3`. Empty for all inputs of the head.

    Raises:
        SiteError: a site does not exist, has no map (B, C, H, W), or runs several times in a forward pass.
    """
    example = detector.example()
    taps = [one for site in sites or head_inputs(detector) for _, one in tap(detector.network, site, example=example)]
    heights: dict[Tap, list[int]] = {one: [] for one in taps}
    handles = [one.register_forward_hook(lambda module, _, output: heights[module].append(output.shape[2])) for one in taps]
    detector(example)
    for handle in handles:
        handle.remove()
    if any(len(found) != 1 for found in heights.values()):
        raise SiteError(tr("layer={sites} names a module that runs several times in one forward pass, such as an "
                           "activation that many layers share. Name the module around it, such as its row.",
                           sites=",".join(sites)))
    return [Layer(tap=one, stride=max(1, example.shape[2] // heights[one][0])) for one in taps]


def head_inputs(detector: Detector) -> list[str]:
    """Return the sites of the maps that the head reads, such as `16>23`."""
    head = detector.head
    sources = head.f if isinstance(head.f, (list, tuple)) else [head.f]
    return [f"{source if source >= 0 else head.i + source}>{head.i}" for source in sources]


def heat_map(detector: Detector, images: Tensor, target: Target, layers: Sequence[Layer],
             method: str = "layercam") -> HeatMap:
    """Compute the heat map of one box.

    Args:
        detector: the detector, with taps.
        images: (1, C, H, W) in 0 to 1.
        target: the number that the map explains.
        layers: from `tap_layers`. The maps of several layers are scaled to 0 to 1 and averaged.
        method: one of `METHODS`.

    Returns:
        (H, W) in 0 to 1, at the size of the network's input. It is 0 everywhere if no positive evidence was found, for
        example because the logit does not depend on the layer.
    """
    build = _methods()[method]
    maps = []
    for layer in layers:
        cam = build(model=detector, target_layers=[layer.tap], reshape_transform=lambda x: x.clone())
        try:
            found = cam(input_tensor=images.clone().requires_grad_(),
                        targets=[lambda logits: logits[target.anchor, target.kind]])
        finally:
            cam.activations_and_grads.release()
        maps.append(np.asarray(found[0], np.float64))
    mean = np.mean(maps, axis=0)
    if not np.isfinite(mean).all():
        raise GraftError(tr("The heat map has values that are no numbers: the network's features overflow on this picture."))
    top = mean.max()
    return np.asarray(mean / top if top > 0 else mean, np.float32)


def _methods() -> dict[str, Callable[..., Any]]:
    """Return the classes of `grad-cam`, imported here because the package is optional and its import is slow."""
    from pytorch_grad_cam import EigenCAM, GradCAM, LayerCAM

    class ReducedEigenCAM(EigenCAM):
        """EigenCAM with a covariance of the channels and a defined sign."""

        def get_cam_image(self, input_tensor: Any, target_layer: Any, targets: Any, activations: NDArray[np.float32],
                          grads: Any, eigen_smooth: bool) -> HeatMap:
            return np.stack([principal_map(one) for one in activations])

    return {"gradcam": GradCAM, "layercam": LayerCAM, "eigencam": ReducedEigenCAM}


def principal_map(features: NDArray[np.float32]) -> HeatMap:
    """Project a feature map (C, H, W) on the first principal component of its channels: (H, W), mean 0.

    The side with the larger absolute value is positive.
    """
    rows = np.nan_to_num(features.reshape(len(features), -1).T.astype(np.float64))  # (H W, C)
    rows -= rows.mean(axis=0)
    _, vectors = np.linalg.eigh(rows.T @ rows)  # eigenvalues in ascending order
    projection = rows @ vectors[:, -1]
    if -projection.min() > projection.max():
        projection = -projection
    return np.asarray(projection.reshape(features.shape[1:]), np.float32)


def on_picture(heat: HeatMap, window: tuple[slice, slice], shape: tuple[int, int]) -> HeatMap:
    """Cut the padding off a heat map of the network's input, and scale it to the picture: (height, width)."""
    inside = heat[window]
    scaled = cv2.resize(inside, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(np.clip(scaled, 0, 1), np.float32)
