"""Images that look alike: a perceptual hash of each image, and the pairs of two splits whose hashes are near.

The hash is the difference hash (Krawetz 2013, "Kind of like that"): the image in grey is reduced to 17 x 16 pixels, and each
bit says whether a pixel is brighter than its left neighbour, 256 bits in all. A change of brightness, contrast, size or
compression changes few bits. Images without structure give random bits, and regular textures give similar ones. Therefore a
pair whose hashes differ in few bits counts only if the two images reduced to 32 x 32 pixels are correlated too.

The package imagehash computes the same hash, but one image at a time, with SciPy and PyWavelets, and it has no search. Here
OpenCV reduces the image, and one matrix product gives the distances of thousands of pairs at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["SIDE", "hashes", "near_pairs", "reduce"]

SIDE = 32  # pixels of the reduced image
_BITS = 256
_MOST_BITS = 48  # pairs with more different bits are not alike: of two random images, about 128 of 256 differ
_LEAST_CORRELATION = 0.85
_LEAST_DEVIATION = 1.0  # grey levels (root mean square): less is rounding, whose correlation differs from machine to machine
_ROWS = 1024  # images of one matrix product


def reduce(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image in grey of 32 x 32 pixels, as 1024 bytes.

    Args:
        pixels: (H, W) or (H, W, 3), in BGR.
    """
    grey = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).tobytes()


def hashes(reduced: Sequence[bytes]) -> NDArray[np.float32]:
    """Return the difference hash of each reduced image, (N, 256), with 1 for a set bit and -1 for another."""
    found = np.empty((len(reduced), _BITS), np.float32)
    for at, one in enumerate(reduced):
        small = cv2.resize(np.frombuffer(one, np.uint8).reshape(SIDE, SIDE), (17, 16), interpolation=cv2.INTER_AREA)
        found[at] = np.where(small[:, 1:] > small[:, :-1], 1, -1).ravel()
    return found


def near_pairs(first: Sequence[bytes], second: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return the pairs of images that look alike, of one list and of another, as positions in the lists.

    Args:
        first: reduced images, see `reduce`.
        second: the same for the other list.
    """
    if not first or not second:
        return []
    ours, theirs = hashes(first), hashes(second)
    flat, other_flat = _normalized(first), _normalized(second)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(ours), _ROWS):
        equal = ours[start:start + _ROWS] @ theirs.T  # bits that agree minus bits that differ
        rows, columns = np.nonzero(equal >= _BITS - 2 * _MOST_BITS)
        rows += start
        alike = np.einsum("ij,ij->i", flat[rows], other_flat[columns]) >= _LEAST_CORRELATION
        pairs += [(int(row), int(column)) for row, column in zip(rows[alike], columns[alike], strict=True)]
    return pairs


def _normalized(reduced: Sequence[bytes]) -> NDArray[np.float32]:
    """Return the reduced images without their plane of brightness and with length 1: a product of two is a correlation.

    An image that is no more than such a plane becomes 0, so it is like no other.
    """
    values = np.stack([np.frombuffer(one, np.uint8) for one in reduced]).astype(np.float32)
    values -= values @ _PLANE @ _PLANE.T
    length = np.linalg.norm(values, axis=1, keepdims=True)
    return np.where(length >= _LEAST_DEVIATION * SIDE, values / np.maximum(length, _LEAST_DEVIATION), np.float32(0))


def _plane() -> NDArray[np.float32]:
    """Return an orthonormal basis, (1024, 3), of the images whose brightness is a + b x + c y."""
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    basis = np.stack([np.ones(SIDE * SIDE), x.ravel(), y.ravel()], axis=1)
    return (basis / np.linalg.norm(basis, axis=0)).astype(np.float32)


_PLANE = _plane()
