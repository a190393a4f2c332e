"""A block at every row of every model YAML in Ultralytics: build, run, train, save, load and remove it.

The default suite tests a seeded sample: for each kind of head, one row of one file. `-m slow` tests all rows of all files.
A file whose smallest scale is large is built with a quarter of its width, because only the structure matters here.
"""

import copy
import io
import random
from contextlib import contextmanager

import pytest
import torch
from test_modelyaml_table import PACKAGED, load
from torch import nn
from ultralytics.nn import tasks

from yolograft import checkpoint
from yolograft.attach import grafted, grafts
from yolograft.errors import GraftError
from yolograft.host import YOLO, models

BY_HEAD = {
    "Classify": "ClassificationModel", "Detect": "DetectionModel", "v10Detect": "DetectionModel",
    "Segment": "SegmentationModel", "Segment26": "SegmentationModel", "Pose": "PoseModel", "Pose26": "PoseModel",
    "OBB": "OBBModel", "OBB26": "OBBModel", "RTDETRDecoder": "RTDETRDetectionModel", "WorldDetect": "WorldModel",
    "YOLOEDetect": "YOLOEModel", "YOLOESegment": "YOLOESegModel", "YOLOESegment26": "YOLOESegModel",
    "Depth": "DepthModel", "SemanticSegment": "SemanticSegmentationModel",
}
WIDE = ("yolov3", "yolov3-spp", "yolov9c", "yolov9c-seg", "yolov9m",
        "yolov10b", "yolov10l", "yolov10m", "yolov10s", "yolov10x")
BLOCK = "se(ratio=4)"


def head_of(path):
    return load(path)["head"][-1][2]


def config(path):
    cfg = {**load(path), "yaml_file": path.name}
    if path.stem in WIDE:
        cfg["scales"] = {"n": [0.33, 0.25, 1024]}
    cfg["scale"] = "n" if "n" in cfg.get("scales", {}) else next(iter(cfg.get("scales", {})), "")
    for row in cfg["backbone"]:
        if row[2] == "TorchVision":
            row[3] = [None if arg == "DEFAULT" else arg for arg in row[3]]  # its pretrained weights would be downloaded
    return cfg


class Bare:
    """A bare host with calibrated batch norms, its output, and the output of each row."""

    def __init__(self, path):
        torch.manual_seed(0)
        cfg = config(path)
        self.model = getattr(tasks, BY_HEAD[cfg["head"][-1][2]])(cfg, verbose=False)
        size = 160 if cfg["head"][-1][2] == "RTDETRDecoder" else 64  # its decoder needs at least 300 feature map positions
        self.x = torch.rand(2, 3, size, size)
        calibrate_batch_norms(self.model, self.x)
        self.keys = {key: value.clone() for key, value in self.model.state_dict().items()}
        with torch.no_grad(), features(self.model) as seen:
            self.output = tensors(self.model(self.x))
        self.rows = [seen[number] for number in range(len(self.model.model))]
        assert all(torch.isfinite(tensor).all() for tensor in self.output)

    def maps(self):
        """Return the indices of the rows whose output is one feature map (B, C, H, W)."""
        return [number for number, value in enumerate(self.rows) if isinstance(value, torch.Tensor) and value.ndim == 4
                and number < len(self.rows) - 1]


def calibrate_batch_norms(model, x):
    """Set the statistics of batch norms to those of one batch, so that features of random weights have a usual size."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        train_forward(model, x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.eval()


def train_forward(model, x):
    model.train()
    if type(model.model[-1]).__name__ != "RTDETRDecoder":
        return model(x)
    targets = {"cls": torch.tensor([0, 1]), "bboxes": torch.full((2, 4), 0.4), "batch_idx": torch.tensor([0, 1]),
               "gt_groups": [1, 1]}  # in training, its decoder denoises boxes; 8.3.0 needs at least one
    return model.predict(x, batch=targets)


@contextmanager
def features(model, *numbers):
    seen = {}

    def record(number):
        return lambda module, args, output: seen.__setitem__(
            number, output.clone() if isinstance(output, torch.Tensor) else output)

    handles = [model.model[n].register_forward_hook(record(n)) for n in numbers or range(len(model.model))]
    yield seen
    for handle in handles:
        handle.remove()


def tensors(output):
    if isinstance(output, torch.Tensor):
        return [output]
    if isinstance(output, dict):
        output = list(output.values())
    return [tensor for item in output for tensor in tensors(item)] if isinstance(output, (list, tuple)) else []


def run(model, x):
    with torch.no_grad():
        return tensors(model(x))


def same(first, second):
    return len(first) == len(second) and all(map(torch.equal, first, second))


def save_and_load(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def check_row(bare, number):
    """Check a block at one row of the host, and that removing it restores the host."""
    model, x = bare.model, bare.x
    kind = type(model)
    models.graft_onto(model, f"{BLOCK}@{number}")
    prefix = f"model.{number}."
    (key,) = grafts(model)
    assert key.startswith(prefix)
    block = model.get_submodule(key)
    assert model.state_dict().keys() - bare.keys.keys() == {f"{key}.{name}" for name in block.state_dict()}

    assert same(run(model, x), bare.output), "before training, the grafted model differs from its host"

    loss = sum((output.float() * torch.linspace(-1, 1, output.numel()).view_as(output)).sum()
               for output in tensors(train_forward(model, x)) if output.is_floating_point())
    loss.backward()
    gradients = [parameter.grad for parameter in block.parameters() if parameter.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients), "no gradient reaches the block"
    model.zero_grad(set_to_none=True)
    model.load_state_dict(bare.keys, strict=False)  # restores the statistics of the batch norms
    model.eval()

    with torch.no_grad():  # as after training: all weights have changed
        for parameter in block.parameters():
            parameter.add_(torch.randn_like(parameter))
        with features(model, number) as seen:
            expected = tensors(model(x))
        change = (seen[number] - bare.rows[number]).abs().mean() / bare.rows[number].abs().mean()
        assert change > 1e-3, "a trained block does not change the features at its site"

    loaded, state = save_and_load(model), save_and_load(model.state_dict())
    assert type(loaded) is type(model)
    assert grafted(loaded) == grafted(model)
    assert same(run(loaded, x), expected), "the checkpoint gives another output"
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.zero_()
    assert not same(run(loaded, x), expected)
    loaded.load_state_dict(state, strict=True)
    assert same(run(loaded, x), expected), "the state dict gives another output"

    models.ungraft(model)
    assert type(model) is kind
    after = model.state_dict()
    assert after.keys() == bare.keys.keys()
    assert all(torch.equal(after[key], value) for key, value in bare.keys.items())


def check_pickle_free(bare, number, folder):
    """Check that a safetensors checkpoint restores a block's weights on a bare host."""
    model = models.graft_onto(copy.deepcopy(bare.model), f"se(init=paper)@{number}")
    loaded = copy.deepcopy(bare.model)
    checkpoint.load(loaded, checkpoint.save(model, folder / "model"))
    assert grafted(loaded) == grafted(model)
    assert same(run(loaded.eval(), bare.x), run(model, bare.x))


def check_error(bare, number):
    """Check that a block at a row without a feature map raises an error, and that the host does not change."""
    with pytest.raises(GraftError, match=r"\(B, C, H, W\)|never called"):
        models.graft_onto(bare.model, f"{BLOCK}@{number}")
    assert bare.model.state_dict().keys() == bare.keys.keys()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in bare.model.modules())


def sample():
    generator = random.Random(11)
    by_head = {}
    for path in PACKAGED:
        by_head.setdefault(head_of(path), []).append(path)
    small = {head: [p for p in paths if config(p)["scale"] == "n"] or paths for head, paths in by_head.items()}
    return [(generator.choice(paths), generator.random()) for _, paths in sorted(small.items())]


def test_every_head_of_a_packaged_file_has_a_model_class():
    assert {head_of(path) for path in PACKAGED} <= BY_HEAD.keys()


def test_the_packaged_files_cover_every_task():
    assert set(YOLO("yolo11n.yaml").task_map) <= {tasks.guess_model_task(load(path)) for path in PACKAGED}


@pytest.mark.parametrize(("path", "where"), sample(), ids=lambda value: getattr(value, "stem", ""))
def test_a_block_at_a_row_of_a_packaged_model(path, where, tmp_path):
    bare = Bare(path)
    rows = bare.maps()
    number = rows[int(where * len(rows))]
    check_row(bare, number)
    check_pickle_free(bare, number, tmp_path)
    check_error(bare, len(bare.rows) - 1)
    assert same(run(bare.model, bare.x), bare.output)


@pytest.mark.slow
@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_a_block_at_every_row_of_every_packaged_model(path, tmp_path):
    bare = Bare(path)
    rows = bare.maps()
    assert len(rows) >= 1
    check_pickle_free(bare, rows[-1], tmp_path)
    failed = {}
    for number in range(len(bare.rows)):
        try:
            (check_row if number in rows else check_error)(bare, number)
        except Exception as error:  # continue with the other rows
            failed[number] = f"{type(error).__name__}: {error}"
            bare = Bare(path)
    assert not failed
    assert same(run(bare.model, bare.x), bare.output)


@pytest.mark.parametrize(("name", "graft"), [
    ("yolo11", "se(init=paper)@8"), ("yolo11-cls", "se(init=paper)@C3k2"), ("yolov8", "se(init=paper)@Bottleneck.cv2"),
    ("yolo11", "se(init=paper)@p3,p4,p5"),
])
def test_a_block_with_init_paper_changes_the_features_at_its_site(name, graft):
    bare = Bare(next(path for path in PACKAGED if path.stem == name))
    model = copy.deepcopy(bare.model)
    models.graft_onto(model, graft)
    blocks = list(grafts(model).values())
    ratios = []
    for block in blocks:
        block.register_forward_hook(lambda module, args, output: ratios.append(
            (output.abs().mean() / args[0].abs().mean()).item()))
    run(model, bare.x)
    assert len(ratios) == len(blocks)
    assert all(0.3 < ratio < 0.7 for ratio in ratios), ratios  # an untrained sigmoid gate is about 0.5
