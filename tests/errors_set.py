"""Hand-made detections for the tests of the error analysis."""

from collections.abc import Sequence

import numpy as np

from yolograft.analysis.average_precision import Detections

Box = tuple[float, float, float, float]


def detections(found: Sequence[tuple[int, int, Box, float]], truths: Sequence[tuple[int, int, Box]], images: int = 2,
               side: int = 200) -> Detections:
    """Make detections (image, class, box, confidence) and objects (image, class, box) of square images."""
    ordered = sorted(found, key=lambda one: -one[3])

    def column(rows: Sequence[tuple], at: int, kind: type, width: tuple[int, ...] = ()) -> np.ndarray:
        return np.array([row[at] for row in rows], kind).reshape(len(rows), *width)

    return Detections(
        names=tuple(f"{number}.png" for number in range(images)), shapes=np.full((images, 2), side),
        image=column(ordered, 0, int), kind=column(ordered, 1, int), box=column(ordered, 2, np.float32, (4,)),
        confidence=column(ordered, 3, np.float32), correct=np.zeros((len(ordered), 10), bool),
        truth_image=column(truths, 0, int), truth_kind=column(truths, 1, int),
        truth_box=column(truths, 2, np.float32, (4,)), line_to_zero=False)


def random_detections(seed: int, images: int = 6, classes: int = 3) -> Detections:
    """Make random objects, and detections that are moved, missed, doubled, of another class or of nothing."""
    generator = np.random.default_rng(seed)
    truths, found = [], []

    def box() -> Box:
        x, y = generator.uniform(0, 140, 2)
        width, height = generator.uniform(8, 60, 2)
        return float(x), float(y), float(x + width), float(y + height)

    for image in range(images):
        for _ in range(generator.integers(1, 5)):
            kind, one = int(generator.integers(classes)), box()
            truths.append((image, kind, one))
            for _ in range(generator.integers(0, 4)):
                moved = np.asarray(one) + np.tile(generator.normal(0, generator.choice([1, 10]), 2), 2)
                given = kind if generator.random() < 0.7 else int(generator.integers(classes))
                found.append((image, given, tuple(map(float, moved)), float(generator.random())))
        found += [(image, int(generator.integers(classes)), box(), float(generator.random())) for _ in range(3)]
    return detections(found, truths, images)
