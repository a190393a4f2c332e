"""Files of detections, as the validation of a trial writes them."""

import numpy as np


def picture_file(path, *, images=40, classes=3, skill=0.7, seed=0, names=None, **more):
    """Write detections of a detector that finds an object with probability `skill`, and some false positives."""
    rng = np.random.default_rng(seed)
    truths, found, correct = [], [], []
    for image in range(images):
        for _ in range(rng.integers(1, 4)):
            kind = rng.integers(classes)
            truths.append([image, kind, 0, 0, 1, 1])
            if rng.random() < skill:
                found.append([image, 0, 0, 1, 1, rng.beta(5, 2), kind])
                correct.append(np.arange(10) <= rng.integers(2, 10))
        for _ in range(rng.integers(0, 6)):
            found.append([image, 0, 0, 1, 1, rng.beta(2, 5), rng.integers(classes)])
            correct.append(np.zeros(10, bool))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, names=np.array(names or [f"{i}.jpg" for i in range(images)]), shapes=np.ones((images, 2)),
                        detections=np.array(found, np.float32), correct=np.array(correct),
                        truths=np.array(truths, np.float32), **more)
    return path
