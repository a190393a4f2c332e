"""Ultralytics' training augmentation of detection images, for a whole batch on the device that holds the images.

Mosaic of four, random affine or perspective, HSV, flips, and the filter of small boxes: the same operations with the same
distributions as the data set's own transforms, from which a `Recipe` is read. `read_recipe` names the operations that are
not supported. All random numbers of an epoch are drawn on the CPU as one table (`draw_plan`), one row per image. Seed,
epoch and image alone decide a row: not the batch, the arm, or other random draws. Boxes are transformed on the CPU, since
a GPU that drops boxes makes the CPU wait for their number.

What this relies on in Ultralytics (8.3.0 to 8.4.x): the names and attributes of the transforms in `data/augment.py`.
Without Mosaic, up to some 8.3.x an image is letterboxed before the affine, which then holds a `pre_transform`; in later
versions the affine takes the image as it is. Two differences between versions are found by a call: the letterbox moves
boxes by half pixels in some versions, and by whole pixels, as it moves the image, in others; hue is multiplied up to
8.3.78, and rotated from then on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from ultralytics.data.augment import LetterBox, RandomHSV
from ultralytics.utils.instance import Instances

from yolograft.language import tr
from yolograft.seeding import derive_seed

__all__ = ["GREY", "Plan", "Recipe", "draw_plan", "read_recipe", "render_images", "transform_boxes"]

GREY = 114  # the value of padding
_DRAWS = 20  # columns of the table; the last are spare, so that a new draw will not move the others
_SMALL = 2**30  # tables with fewer pixels are indexed by int32: `_canvas` adds two indices, and their sum must fit


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The augmentation of a data set.

    Attributes:
        side: of the output images, in pixels.
        mosaic: probability of a mosaic of four images.
        degrees: maximum rotation, in both directions.
        translate: maximum translation, as a fraction of the side.
        scale: minimum and maximum scale factor.
        shear: maximum shear in degrees, in x and in y.
        perspective: maximum perspective coefficient.
        hsv: maximum gains of hue, saturation and value.
        rotates_hue: whether the gain is added to the hue; otherwise the hue is multiplied.
        flips: probabilities of a vertical and of a horizontal flip.
        letterboxed: whether a single image is padded to a square before the affine, by whole pixels.
        has_half_pixels: whether its boxes are then moved by half pixels.
    """

    side: int
    mosaic: float = 0.0
    degrees: float = 0.0
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    perspective: float = 0.0
    hsv: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotates_hue: bool = True
    flips: tuple[float, float] = (0.0, 0.0)
    letterboxed: bool = False
    has_half_pixels: bool = False


def read_recipe(dataset: Any) -> tuple[Recipe, list[str]]:
    """Return the augmentation of an Ultralytics data set, and a list of the operations in it that are not supported."""
    found: dict[str, Any] = {"side": int(dataset.imgsz), "rotates_hue": _rotates_hue()}
    flips, unsupported = [0.0, 0.0], []
    for one in _flatten(dataset.transforms):
        kind = type(one).__name__
        if kind == "Mosaic":
            found["mosaic"] = float(one.p)
            if one.p and one.n != 4:
                unsupported.append(tr("a mosaic of {n}", n=one.n))
        elif kind == "RandomPerspective":
            wide = isinstance(one.scale, (tuple, list))
            found["scale"] = tuple(map(float, one.scale)) if wide else (1.0 - one.scale, 1.0 + one.scale)
            found |= {key: float(getattr(one, key)) for key in ("degrees", "translate", "shear", "perspective")}
            found["letterboxed"] = getattr(one, "pre_transform", None) is not None
            found["has_half_pixels"] = found["letterboxed"] and _has_half_pixels()
        elif kind == "RandomHSV":
            found["hsv"] = (float(one.hgain), float(one.sgain), float(one.vgain))
        elif kind == "RandomFlip":
            flips[one.direction == "horizontal"] = float(one.p)
        elif kind == "Format":
            unsupported += [f"bgr={one.bgr}"] if one.bgr else []
        elif kind == "Albumentations":
            if one.transform is not None and one.p:
                unsupported.append(tr("albumentations, which Ultralytics uses where it is installed"))
        elif kind in ("MixUp", "CutMix", "CopyPaste"):
            name = {"MixUp": "mixup", "CutMix": "cutmix", "CopyPaste": "copy_paste"}[kind]
            unsupported += [f"{name}={one.p}"] if one.p else []
        else:
            unsupported.append(tr("the transform {kind}", kind=kind))
    return Recipe(flips=(flips[0], flips[1]), **found), unsupported


def _flatten(transform: Any) -> Iterator[Any]:
    for one in transform.transforms:
        if type(one).__name__ == "Compose":
            yield from _flatten(one)
        else:
            yield one


def _rotates_hue() -> bool:
    """Return whether the installed `RandomHSV` rotates the hue: it then changes pure red, whose hue is 0."""
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 2] = 255
    before, state = red.copy(), np.random.get_state()
    np.random.seed(0)  # the first number of this seed is not near 0
    RandomHSV(hgain=0.5, sgain=0.0, vgain=0.0)({"img": red})
    np.random.set_state(state)
    return not np.array_equal(red, before)


def _has_half_pixels() -> bool:
    """Return whether the installed `LetterBox` moves boxes by half a pixel where it does not move the image."""
    whole = Instances(np.array([[0.0, 0.0, 4.0, 3.0]], np.float32), np.zeros((0, 1000, 2), np.float32), bbox_format="xyxy",
                      normalized=False)
    moved = LetterBox((4, 4))({"img": np.zeros((3, 4, 3), np.uint8), "instances": whole})
    return bool(moved["instances"].bboxes[0, 1] > 0.25)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The random parameters of an epoch. Row p belongs to image p.

    Attributes:
        tiles: (N, 4) indices of the images top left, top right, bottom left and bottom right of the centre; -1 for none.
        centre: (N, 2) x and y of the point where the tiles meet, in pixels of the canvas.
        offset: (N, 2) further translation of a single image's boxes.
        mosaic: (N,) whether the image is a mosaic of four.
        forward: (N, 3, 3) matrix from the canvas to the output.
        inverse: (N, 3, 3) matrix from the output to the canvas.
        scale: (N,) scale factor.
        gains: (N, 3) of hue, saturation and value.
        flips: (N, 2) whether to flip vertically, and horizontally.
    """

    tiles: Tensor
    centre: Tensor
    offset: Tensor
    mosaic: Tensor
    forward: Tensor
    inverse: Tensor
    scale: Tensor
    gains: Tensor
    flips: Tensor

    def to(self, device: torch.device) -> Plan:
        """Return the plan on a device."""
        return Plan(**{key: value.to(device) for key, value in vars(self).items()})

    def take(self, rows: Tensor) -> Plan:
        """Return the rows of some images."""
        return Plan(**{key: value[rows] for key, value in vars(self).items()})


def draw_plan(recipe: Recipe, sizes: NDArray[Any], seed: int, epoch: int) -> Plan:
    """Draw the random parameters of an epoch.

    Args:
        recipe: the augmentation.
        sizes: (N, 2) height and width of each image.
        seed: of the training.
        epoch: counted from 0.
    """
    count, side = len(sizes), recipe.side
    # filled row by row, so that a row does not depend on the number of rows
    table = np.random.Generator(np.random.PCG64(derive_seed("augment", seed, epoch))).random((count, _DRAWS))

    def between(low: float, high: float, *columns: int) -> NDArray[Any]:
        return low + (high - low) * table[:, columns if len(columns) > 1 else columns[0]]

    mosaic = table[:, 0] <= recipe.mosaic if recipe.mosaic else np.zeros(count, bool)
    own = np.arange(count)
    others = np.minimum((table[:, 1:4] * count).astype(np.int64), count - 1)
    height, width = sizes[:, 0].astype(np.float64), sizes[:, 1].astype(np.float64)
    pad = np.stack([side - width, side - height], 1) / 2 if recipe.letterboxed else np.zeros((count, 2))
    whole = np.round(pad - 0.1) if recipe.letterboxed else pad
    single = np.full((count, 4), -1)
    single[:, 3] = own
    four = np.concatenate([own[:, None], others], 1)
    middle = np.full((count, 2), side / 2) if recipe.letterboxed else np.stack([width, height], 1) / 2
    forward, scale = _matrices(recipe, np.where(mosaic[:, None], side, middle), between)
    gains = between(-1.0, 1.0, 14, 15, 16) * np.array(recipe.hsv)
    # Mosaic draws y first
    centre = np.where(mosaic[:, None], np.trunc(between(side / 2, 1.5 * side, 5, 4)), whole)
    rest = np.where(mosaic[:, None] | (not recipe.has_half_pixels), 0.0, pad - whole)
    values = {
        "tiles": np.where(mosaic[:, None], four, single), "centre": centre.astype(np.int64),
        "offset": rest.astype(np.float32), "mosaic": mosaic, "forward": forward,
        "inverse": np.linalg.inv(forward.astype(np.float64)).astype(np.float32), "scale": scale.astype(np.float32),
        "gains": gains.astype(np.float32), "flips": table[:, 17:19] < np.array(recipe.flips),
    }
    return Plan(**{key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in values.items()})


def _matrices(recipe: Recipe, middle: NDArray[Any], between: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return each image's matrix about its centre, as `RandomPerspective` builds it, and its scale factor."""
    count = len(middle)
    centring, bending, turning, shearing, moving = np.tile(np.eye(3, dtype=np.float32), (5, count, 1, 1))
    centring[:, :2, 2] = -middle
    bending[:, 2, :2] = between(-recipe.perspective, recipe.perspective, 6, 7)
    angle, scale = np.deg2rad(between(-recipe.degrees, recipe.degrees, 8)), between(*recipe.scale, 9)
    turning[:, 0, 0] = turning[:, 1, 1] = scale * np.cos(angle)
    turning[:, 0, 1], turning[:, 1, 0] = scale * np.sin(angle), -scale * np.sin(angle)
    shear = np.tan(np.deg2rad(between(-recipe.shear, recipe.shear, 10, 11)))
    shearing[:, 0, 1], shearing[:, 1, 0] = shear[:, 0], shear[:, 1]
    moving[:, :2, 2] = between(0.5 - recipe.translate, 0.5 + recipe.translate, 12, 13) * recipe.side
    return moving @ shearing @ turning @ bending @ centring, scale


def render_images(table: Tensor, sizes: Tensor, rows: Plan, recipe: Recipe) -> Tensor:
    """Return a batch of images, (B, 3, side, side) of uint8 in RGB.

    Args:
        table: (1 + N * side * side,) pixels as int32 of four bytes each, RGB and one unused; the first is grey.
        sizes: (N, 2) height and width of each image in the table, whose rows are `side` long.
        rows: the random parameters of each image of the batch, on the table's device.
        recipe: the augmentation.
    """
    canvas = _canvas(table, sizes, rows, recipe)
    pixels = torch.arange(recipe.side, device=table.device, dtype=torch.float32)
    flip = rows.flips[..., None]
    y, x = torch.where(flip, recipe.side - 1 - pixels, pixels).unbind(1)  # each (B, side)
    inverse = rows.inverse[..., None, None]
    at = inverse[:, :, 0] * x[:, None, None, :] + inverse[:, :, 1] * y[:, None, :, None] + inverse[:, :, 2]
    where = at[:, :2] / at[:, 2:] if recipe.perspective else at[:, :2]
    grid = where.permute(0, 2, 3, 1) * (2 / (canvas.shape[-1] - 1)) - 1
    # `grid_sample` pads with zeros: after the shift, 0 is grey
    warped = functional.grid_sample(canvas.sub_(GREY), grid, align_corners=True).add_(GREY).round_()
    return (_adjust_hsv(warped, rows.gains, recipe.rotates_hue) if any(recipe.hsv) else warped).clamp_(0, 255).byte()


def _canvas(table: Tensor, sizes: Tensor, rows: Plan, recipe: Recipe) -> Tensor:
    """Return the tiles around their centres, (B, 3, H, W) of float. A single image is the tile bottom right.

    In the four quadrants, x - xc and y - yc count from an image's left and top, or from its right and bottom.
    """
    long = 2 * recipe.side if recipe.mosaic else recipe.side
    is_small = table.numel() < _SMALL  # int64 doubles the memory traffic
    # `nowhere` is still negative after the sum of two indices
    kind, nowhere = (torch.int32, -_SMALL) if is_small else (torch.int64, -(2**62))
    at = torch.arange(long, device=table.device, dtype=kind)
    tiles = rows.tiles.view(-1, 2, 2)  # [top or bottom, left or right]
    height, width = sizes.to(kind)[tiles.clamp(min=0)].unbind(-1)
    begins = torch.where(tiles >= 0, 1 + tiles * recipe.side**2, nowhere).to(kind)
    x, y = rows.centre.to(kind).unbind(1)
    left, top = at < x[:, None], at < y[:, None]  # (B, long)

    def across(values: Tensor) -> Tensor:  # (B, 2, 2) to (B, top or bottom, long)
        return torch.where(left[:, None], values[:, :, :1], values[:, :, 1:])

    def down(values: Tensor) -> Tensor:  # (B, 2, 2) to (B, left or right, long)
        return torch.where(top[:, None], values[:, 0, :, None], values[:, 1, :, None])

    column = at - x[:, None, None] + torch.where(left[:, None], width[:, :, :1], 0)
    row = at - y[:, None, None] + torch.where(top[:, None], height[:, 0, :, None], 0)
    column = torch.where((column >= 0) & (column < across(width)), column, nowhere)
    row = torch.where((row >= 0) & (row < down(height)), row * recipe.side + down(begins), nowhere)
    index = torch.where(left[:, None, :], row[:, 0, :, None], row[:, 1, :, None])
    index = index + torch.where(top[:, :, None], column[:, 0, None, :], column[:, 1, None, :])
    pixels = table.index_select(0, index.clamp_(min=0).view(-1)).view(torch.uint8)
    return pixels.view(-1, long, long, 4)[..., :3].permute(0, 3, 1, 2).float()


def _adjust_hsv(images: Tensor, gains: Tensor, rotates_hue: bool) -> Tensor:
    """Return RGB images with changed hue, saturation and value, in the steps of OpenCV's 8-bit HSV.

    The conversion to HSV equals OpenCV's tables bit for bit (180 hue steps, fixed-point quotients with 12 bits). The
    conversion back truncates as OpenCV does.
    """
    value, low = images.amax(1), images.amin(1)
    red, green, blue = images.unbind(1)
    range_ = value - low
    sixth = torch.where(value == red, green - blue,
                        torch.where(value == green, blue - red + 2 * range_, red - green + 4 * range_))
    hue = ((sixth * (30 * 4096 / range_.clamp(min=1)).round_() + 2048) / 4096).floor_()
    hue = torch.where(hue < 0, hue + 180, hue)
    saturation = ((range_ * (255 * 4096 / value.clamp(min=1)).round_() + 2048) / 4096).floor_()
    turn, more, brighter = gains[..., None, None].unbind(1)
    hue = ((hue + 180 * turn) if rotates_hue else hue * (1 + turn)).remainder(180).floor_()
    saturation = (saturation * (1 + more)).clamp_(0, 255).floor_() / 255
    value = (value * (1 + brighter)).clamp_(0, 255).floor_()
    # HSV to RGB in closed form: a channel falls from v to v (1 - s) with the distance of the hue from the channel's
    from_ = torch.tensor([5.0, 3.0, 1.0], device=images.device)[:, None, None]
    away = (hue[:, None] / 30 + from_).remainder_(6)
    away = torch.minimum(away, 4 - away).clamp_(0, 1)
    return (value[:, None] * (1 - saturation[:, None] * away) + 0.001).floor_()


def transform_boxes(labels: Tensor, counts: Tensor, sizes: Tensor, rows: Plan, recipe: Recipe,
                    ) -> tuple[Tensor, Tensor, Tensor]:
    """Return the boxes of a batch: image index (n,), class (n, 1), and normalised x, y, w, h (n, 4).

    Args:
        labels: (N, max boxes, 5) class and normalised x, y, w, h.
        counts: (N,) number of boxes of each image.
        sizes: (N, 2) height and width.
        rows: the random parameters of each image of the batch; all arguments are on the CPU.
        recipe: the augmentation.
    """
    tiles, side = rows.tiles.clamp(min=0), float(recipe.side)
    tile_labels = labels[tiles]  # (B, 4, max boxes, 5)
    is_box = (torch.arange(labels.shape[1]) < counts[tiles][..., None]) & (rows.tiles >= 0)[..., None]
    long = sizes[tiles].flip(-1).float()  # (B, 4, 2) as x, y
    above = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])  # 1 for tiles that end at the centre in x, in y
    origin = rows.centre[:, None].float() + rows.offset[:, None] - above * long
    middle, half = tile_labels[..., 1:3], tile_labels[..., 3:5] / 2
    corners = torch.cat([(middle - half) * long[:, :, None] + origin[:, :, None],
                         (middle + half) * long[:, :, None] + origin[:, :, None]], -1)
    image = torch.arange(len(tiles))[:, None, None].expand_as(is_box)[is_box]
    corners, classes = corners[is_box], tile_labels[..., :1][is_box]
    mosaic = rows.mosaic[image]
    corners = torch.where(mosaic[:, None], corners.clamp(0, 2 * side), corners)
    has_area = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]) > 0
    moved = _transform_corners(corners, rows.forward[image], recipe).clamp_(0, side)
    is_kept = (has_area | ~mosaic) & _candidates(corners * rows.scale[image, None], moved)
    image, classes, moved = image[is_kept], classes[is_kept], moved[is_kept]
    found = torch.cat([moved[:, :2] + moved[:, 2:], 2 * (moved[:, 2:] - moved[:, :2])], 1) / 2
    found[:, :2] = torch.where(rows.flips[image].flip(1), side - found[:, :2], found[:, :2])
    return image.float(), classes, found / side


def _transform_corners(corners: Tensor, matrices: Tensor, recipe: Recipe) -> Tensor:
    """Return the bounding boxes of the transformed corners of boxes."""
    four = corners[:, [0, 1, 2, 3, 0, 3, 2, 1]].view(-1, 4, 2)
    ends = torch.cat([four, torch.ones_like(four[..., :1])], -1) @ matrices.transpose(1, 2)
    flat = ends[..., :2] / ends[..., 2:] if recipe.perspective else ends[..., :2]
    return torch.cat([flat.amin(1), flat.amax(1)], 1)


def _candidates(before: Tensor, after: Tensor) -> Tensor:
    """Return which boxes to keep: sides above 2 pixels, more than a tenth of the area, aspect ratio below 100."""
    (w1, h1), (w2, h2) = ((box[:, 2:] - box[:, :2]).unbind(1) for box in (before, after))
    tiny = 1e-16
    ratio = torch.maximum(w2 / (h2 + tiny), h2 / (w2 + tiny))
    return (w2 > 2) & (h2 > 2) & (w2 * h2 / (w1 * h1 + tiny) > 0.1) & (ratio < 100)
