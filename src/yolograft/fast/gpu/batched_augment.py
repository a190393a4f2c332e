"""Ultralytics' training augmentation of detection pictures, done for a whole batch on the device where the pictures lie.

Mosaic of four, random affine or perspective, HSV, flips, and the filter of the boxes that are left: the same operations
with the same distributions as the data set's own transforms, from which a `Recipe` is read; what cannot be done here is
named instead (`recipe_of`). All that is random in an epoch is drawn on the host as one table (`plan`), a row for each
picture, which follows from seed, epoch and picture alone: not from the batch, the arm, or what else draws. Boxes are moved
on the host as well, since dropping some of them on a GPU would make the host wait for it.

What this relies on in Ultralytics (8.3.0 to 8.4.x): the names and attributes of the transforms in `data/augment.py`; that
without Mosaic up to some 8.3.x a picture is letterboxed before the affine, which holds a `pre_transform` then, and later
goes into it as it is; that the letterbox's boxes move by half pixels in some versions and by whole ones in others, as its
picture does, and that the hue is multiplied up to 8.3.78 and turned from then on, both of which are found by trying.
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

from yolograft.seeding import derive_seed

__all__ = ["GREY", "Plan", "Recipe", "boxes", "plan", "recipe_of", "render"]

GREY = 114  # what is outside of every picture
_DRAWS = 20  # columns of the table; the last ones are spare, so that a further draw would move no other
_NARROW = 2**30  # pixels that are counted in int32: twice as many would not fit, and `render` adds two indices


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a data set does to its pictures.

    Attributes:
        side: of the pictures that come out, in pixels.
        mosaic: the share of pictures that are put together from four.
        degrees: rotated by up to this, either way.
        translate: moved by up to this share of the side.
        scale: between these factors.
        shear: sheared by up to so many degrees, in x and in y.
        perspective: strength of it.
        hsv: the gains of hue, saturation and value.
        hue_turns: whether a hue is turned by its gain, or multiplied.
        flips: the shares that are flipped upside down, and left to right.
        letterboxed: whether a single picture is centred in whole pixels before it is transformed.
        halves: whether its boxes are then centred in half pixels.
    """

    side: int
    mosaic: float = 0.0
    degrees: float = 0.0
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    perspective: float = 0.0
    hsv: tuple[float, float, float] = (0.0, 0.0, 0.0)
    hue_turns: bool = True
    flips: tuple[float, float] = (0.0, 0.0)
    letterboxed: bool = False
    halves: bool = False


def recipe_of(dataset: Any) -> tuple[Recipe, list[str]]:
    """Return what an Ultralytics data set does to its pictures, and what of it cannot be done here."""
    found: dict[str, Any] = {"side": int(dataset.imgsz), "hue_turns": _hue_turns()}
    flips, refused = [0.0, 0.0], []
    for one in _flat(dataset.transforms):
        kind = type(one).__name__
        if kind == "Mosaic":
            found["mosaic"] = float(one.p)
            if one.p and one.n != 4:
                refused.append(f"a mosaic of {one.n}")
        elif kind == "RandomPerspective":
            wide = isinstance(one.scale, (tuple, list))
            found["scale"] = tuple(map(float, one.scale)) if wide else (1.0 - one.scale, 1.0 + one.scale)
            found |= {key: float(getattr(one, key)) for key in ("degrees", "translate", "shear", "perspective")}
            found["letterboxed"] = getattr(one, "pre_transform", None) is not None
            found["halves"] = found["letterboxed"] and _halves()
        elif kind == "RandomHSV":
            found["hsv"] = (float(one.hgain), float(one.sgain), float(one.vgain))
        elif kind == "RandomFlip":
            flips[one.direction == "horizontal"] = float(one.p)
        elif kind == "Format":
            refused += [f"bgr={one.bgr}"] if one.bgr else []
        elif kind == "Albumentations":
            if one.transform is not None and one.p:
                refused.append("albumentations, which is installed and which Ultralytics then uses")
        elif kind in ("MixUp", "CutMix", "CopyPaste"):
            name = {"MixUp": "mixup", "CutMix": "cutmix", "CopyPaste": "copy_paste"}[kind]
            refused += [f"{name}={one.p}"] if one.p else []
        else:
            refused.append(f"the transform {kind}")
    return Recipe(flips=(flips[0], flips[1]), **found), refused


def _flat(transform: Any) -> Iterator[Any]:
    for one in transform.transforms:
        if type(one).__name__ == "Compose":
            yield from _flat(one)
        else:
            yield one


def _hue_turns() -> bool:
    """Find out whether the installed `RandomHSV` changes pure red, whose hue is 0: no factor would."""
    red = np.zeros((1, 1, 3), np.uint8)
    red[..., 2] = 255
    before, state = red.copy(), np.random.get_state()
    np.random.seed(0)  # whose first number is not near 0
    RandomHSV(hgain=0.5, sgain=0.0, vgain=0.0)({"img": red})
    np.random.set_state(state)
    return not np.array_equal(red, before)


def _halves() -> bool:
    """Find out whether the installed `LetterBox` moves boxes by half a pixel where it moves their picture by none."""
    whole = Instances(np.array([[0.0, 0.0, 4.0, 3.0]], np.float32), np.zeros((0, 1000, 2), np.float32), bbox_format="xyxy",
                      normalized=False)
    moved = LetterBox((4, 4))({"img": np.zeros((3, 4, 3), np.uint8), "instances": whole})
    return bool(moved["instances"].bboxes[0, 1] > 0.25)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What happens to each picture of an epoch; row p is picture p's.

    Attributes:
        tiles: (N, 4) the pictures top left, top right, bottom left and bottom right of the centre; -1 for none.
        centre: (N, 2) x and y at which they meet, in the pixels of the canvas.
        offset: (N, 2) what a single picture's boxes are moved by beyond that.
        mosaic: (N,) whether there are four.
        forward: (N, 3, 3) from the canvas to what comes out.
        inverse: (N, 3, 3) back again.
        scale: (N,) the factor drawn.
        gains: (N, 3) of hue, saturation and value.
        flips: (N, 2) upside down, and left to right.
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
        """Return it on a device."""
        return Plan(**{key: value.to(device) for key, value in vars(self).items()})

    def take(self, rows: Tensor) -> Plan:
        """Return some pictures' rows."""
        return Plan(**{key: value[rows] for key, value in vars(self).items()})


def plan(recipe: Recipe, sizes: NDArray[Any], seed: int, epoch: int) -> Plan:
    """Return what happens to each picture in an epoch.

    Args:
        recipe: what is done to pictures.
        sizes: (N, 2) height and width of each.
        seed: the training's.
        epoch: counted from 0.
    """
    count, side = len(sizes), recipe.side
    # filled row by row, so that a row does not depend on how many there are
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
    beyond = np.where(mosaic[:, None] | (not recipe.halves), 0.0, pad - whole)
    given = {
        "tiles": np.where(mosaic[:, None], four, single), "centre": centre.astype(np.int64),
        "offset": beyond.astype(np.float32), "mosaic": mosaic, "forward": forward,
        "inverse": np.linalg.inv(forward.astype(np.float64)).astype(np.float32), "scale": scale.astype(np.float32),
        "gains": gains.astype(np.float32), "flips": table[:, 17:19] < np.array(recipe.flips),
    }
    return Plan(**{key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in given.items()})


def _matrices(recipe: Recipe, middle: NDArray[Any], between: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return each picture's matrix, about its middle, as `RandomPerspective` forms it, and the scale in it."""
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


def render(table: Tensor, sizes: Tensor, rows: Plan, recipe: Recipe) -> Tensor:
    """Return a batch of pictures, (B, 3, side, side) of uint8 in RGB.

    Args:
        table: (1 + N * side * side,) pixels as int32 of four bytes each, RGB and one unused; the first is grey.
        sizes: (N, 2) height and width of each picture in the table, whose rows are `side` long.
        rows: what happens to each picture of the batch, on the table's device.
        recipe: what is done to pictures.
    """
    canvas = _canvas(table, sizes, rows, recipe)
    pixels = torch.arange(recipe.side, device=table.device, dtype=torch.float32)
    flip = rows.flips[..., None]
    y, x = torch.where(flip, recipe.side - 1 - pixels, pixels).unbind(1)  # each (B, side)
    inverse = rows.inverse[..., None, None]
    at = inverse[:, :, 0] * x[:, None, None, :] + inverse[:, :, 1] * y[:, None, :, None] + inverse[:, :, 2]
    where = at[:, :2] / at[:, 2:] if recipe.perspective else at[:, :2]
    grid = where.permute(0, 2, 3, 1) * (2 / (canvas.shape[-1] - 1)) - 1
    # outside of the canvas there are zeros, which are made grey by this shift
    warped = functional.grid_sample(canvas.sub_(GREY), grid, align_corners=True).add_(GREY).round_()
    return (_coloured(warped, rows.gains, recipe.hue_turns) if any(recipe.hsv) else warped).clamp_(0, 255).byte()


def _canvas(table: Tensor, sizes: Tensor, rows: Plan, recipe: Recipe) -> Tensor:
    """Return the pictures laid around their centres, (B, 3, H, W) of float; single ones in the corner below right.

    In the four quadrants, x - xc and y - yc count from a picture's left and top, or from its right and bottom.
    """
    long = 2 * recipe.side if recipe.mosaic else recipe.side
    narrow = table.numel() < _NARROW  # int64 costs twice the memory traffic
    kind, nowhere = (torch.int32, -_NARROW) if narrow else (torch.int64, -(2**62))  # below 0 whatever is added to it
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


def _coloured(pictures: Tensor, gains: Tensor, hue_turns: bool) -> Tensor:
    """Return RGB pictures with their hue, saturation and value changed, in the steps of OpenCV's 8-bit HSV.

    To HSV as OpenCV's tables do it, to the bit (a hue has 180 steps, all quotients are in 4096ths); back cut off as there.
    """
    value, low = pictures.amax(1), pictures.amin(1)
    red, green, blue = pictures.unbind(1)
    range_ = value - low
    sixth = torch.where(value == red, green - blue,
                        torch.where(value == green, blue - red + 2 * range_, red - green + 4 * range_))
    hue = ((sixth * (30 * 4096 / range_.clamp(min=1)).round_() + 2048) / 4096).floor_()
    hue = torch.where(hue < 0, hue + 180, hue)
    saturation = ((range_ * (255 * 4096 / value.clamp(min=1)).round_() + 2048) / 4096).floor_()
    turn, more, brighter = gains[..., None, None].unbind(1)
    hue = ((hue + 180 * turn) if hue_turns else hue * (1 + turn)).remainder(180).floor_()
    saturation = (saturation * (1 + more)).clamp_(0, 255).floor_() / 255
    value = (value * (1 + brighter)).clamp_(0, 255).floor_()
    # HSV to RGB in closed form: a channel falls from v to v (1 - s) as the hue moves away from it
    from_ = torch.tensor([5.0, 3.0, 1.0], device=pictures.device)[:, None, None]
    away = (hue[:, None] / 30 + from_).remainder_(6)
    away = torch.minimum(away, 4 - away).clamp_(0, 1)
    return (value[:, None] * (1 - saturation[:, None] * away) + 0.001).floor_()


def boxes(labels: Tensor, counts: Tensor, sizes: Tensor, rows: Plan, recipe: Recipe) -> tuple[Tensor, Tensor, Tensor]:
    """Return the boxes left in a batch: whose they are (n,), their classes (n, 1), and x, y, w, h in shares (n, 4).

    Args:
        labels: (N, most, 5) class, x, y, w, h in shares of the picture.
        counts: (N,) how many a picture has.
        sizes: (N, 2) height and width.
        rows: what happens to each picture of the batch; all on the host.
        recipe: what is done to pictures.
    """
    tiles, side = rows.tiles.clamp(min=0), float(recipe.side)
    given = labels[tiles]  # (B, 4, most, 5)
    there = (torch.arange(labels.shape[1]) < counts[tiles][..., None]) & (rows.tiles >= 0)[..., None]
    long = sizes[tiles].flip(-1).float()  # (B, 4, 2) as x, y
    above = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])  # tiles that end at the centre in x, in y
    begins = rows.centre[:, None].float() + rows.offset[:, None] - above * long
    middle, half = given[..., 1:3], given[..., 3:5] / 2
    corners = torch.cat([(middle - half) * long[:, :, None] + begins[:, :, None],
                         (middle + half) * long[:, :, None] + begins[:, :, None]], -1)
    owner = torch.arange(len(tiles))[:, None, None].expand_as(there)[there]
    corners, classes = corners[there], given[..., :1][there]
    mosaic = rows.mosaic[owner]
    corners = torch.where(mosaic[:, None], corners.clamp(0, 2 * side), corners)
    real = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1]) > 0
    moved = _moved(corners, rows.forward[owner], recipe).clamp_(0, side)
    kept = (real | ~mosaic) & _candidates(corners * rows.scale[owner, None], moved)
    owner, classes, moved = owner[kept], classes[kept], moved[kept]
    found = torch.cat([moved[:, :2] + moved[:, 2:], 2 * (moved[:, 2:] - moved[:, :2])], 1) / 2
    found[:, :2] = torch.where(rows.flips[owner].flip(1), side - found[:, :2], found[:, :2])
    return owner.float(), classes, found / side


def _moved(corners: Tensor, matrices: Tensor, recipe: Recipe) -> Tensor:
    """Return the boxes around the boxes' four corners after they moved."""
    four = corners[:, [0, 1, 2, 3, 0, 3, 2, 1]].view(-1, 4, 2)
    ends = torch.cat([four, torch.ones_like(four[..., :1])], -1) @ matrices.transpose(1, 2)
    flat = ends[..., :2] / ends[..., 2:] if recipe.perspective else ends[..., :2]
    return torch.cat([flat.amin(1), flat.amax(1)], 1)


def _candidates(before: Tensor, after: Tensor) -> Tensor:
    """Return which boxes are worth keeping: more than 2 pixels, a tenth of their area, sides less than 1 to 100."""
    (w1, h1), (w2, h2) = ((box[:, 2:] - box[:, :2]).unbind(1) for box in (before, after))
    tiny = 1e-16
    ratio = torch.maximum(w2 / (h2 + tiny), h2 / (w2 + tiny))
    return (w2 > 2) & (h2 > 2) & (w2 * h2 / (w1 * h1 + tiny) > 0.1) & (ratio < 100)
