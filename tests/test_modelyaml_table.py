import copy
from pathlib import Path

import pytest
import torch
import ultralytics
import yaml
from ultralytics.nn import tasks

from yolograft.errors import HostError
from yolograft.modelyaml import catalog, table

PACKAGED = sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))
# text features between rows, and a backbone that is downloaded: parse_model's rows do not run one after another there
UNRUNNABLE = ("yolov8-world", "yolo11-cls-resnet18")


def load(path):
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


def shapes(cfg, scale):
    """Build the rows with Ultralytics itself, on no device, and return the shape of each row's output but the last's."""
    cfg = copy.deepcopy(cfg)
    cfg["scale"] = scale
    with torch.device("meta"):
        model, _ = tasks.parse_model(cfg, ch=3, verbose=False)
        x, seen = torch.zeros(1, 3, 128, 128), []
        with torch.no_grad():
            for module in list(model.eval())[:-1]:
                if module.f != -1:
                    x = seen[module.f] if isinstance(module.f, int) else [x if f == -1 else seen[f] for f in module.f]
                x = module(x)
                seen.append(x)
    return [tuple(one.shape) if isinstance(one, torch.Tensor) else None for one in seen]


def check_like_ultralytics(path, scale):
    cfg = load(path)
    cfg["scale"] = scale
    rows = table.parse_rows(cfg)
    found = table.channels(rows, table.scales(cfg)[0])
    steps = table.strides(rows)
    for one, shape in zip(rows, shapes(cfg, scale), strict=False):
        if shape is None or len(shape) != 4:
            assert not table.has_map_output(one), one
        else:
            padded = one.module == "nn.ZeroPad2d"  # one pixel more, and the same stride
            assert (found[one.number], int(128 / steps[one.number])) == (shape[1], shape[3] - padded), one


@pytest.mark.parametrize(("name", "scale"), [
    ("yolo11", "n"), ("yolo11", "m"), ("yolov8-p6", "x"), ("yolov9e", None), ("yolov6", "s"), ("rtdetr-resnet50", "l"),
    ("yolov3-tiny", None), ("yolov10n", "n"), ("yolo11-cls", "l"),
])
def test_channels_and_strides_are_those_of_the_built_model(name, scale):
    check_like_ultralytics(next(path for path in PACKAGED if path.stem == name), scale)


@pytest.mark.slow
@pytest.mark.parametrize("path", [p for p in PACKAGED if not p.stem.startswith(UNRUNNABLE)], ids=lambda path: path.stem)
def test_channels_and_strides_of_every_packaged_model_at_every_scale(path):
    for scale in load(path).get("scales") or [None]:
        check_like_ultralytics(path, scale)


@pytest.mark.parametrize("path", PACKAGED, ids=lambda path: path.stem)
def test_every_module_of_a_packaged_file_is_stock(path):
    assert all(catalog.has_module(one.module) for one in table.parse_rows(load(path)))


def test_what_a_fork_adds_is_not_stock():
    names = ("SE", "CBAM", "nn.SE", "torchvision.ops.SE", "re", "LOGGER")
    assert [catalog.has_module(name) for name in names] == [False] * 6


@pytest.mark.parametrize(("number", "source", "target"), [
    (0, -1, -1), (0, 0, None), (0, -2, None), (5, -1, 4), (5, -5, 0), (5, -6, None), (5, 4, 4), (5, 5, None),
    (5, 10**30, None),
])
def test_a_source_means_an_earlier_row_or_none(number, source, target):
    assert table.Row(number, "head", (source,), False, 1, "Conv", []).target(source) == target


@pytest.mark.parametrize(("raw", "said"), [
    (7, "is not a row"), ([-1, 1, "Conv"], "is not a row"), (["-1", 1, "Conv", []], "`from`"),
    ([True, 1, "Conv", []], "`from`"),
    ([[], 1, "Conv", []], "`from`"), ([[1, None], 1, "Conv", []], "`from`"), ([-1, 1, None, []], "the module None"),
    ([-1, 1, "Conv", 64], "the arguments 64"),
])
def test_a_broken_row_is_named_with_what_is_wrong(raw, said):
    with pytest.raises(HostError, match=r"^Row 3 \(head\)") as caught:
        table.parse_row(3, "head", raw)
    assert said in str(caught.value)


def test_all_broken_rows_are_named_at_once():
    with pytest.raises(HostError) as caught:
        table.parse_rows({"backbone": [[-1, 1, "Conv", [8]], 1], "head": [2]})
    assert "Row 1 (backbone), 1," in str(caught.value)
    assert "Row 2 (head), 2," in str(caught.value)


@pytest.mark.parametrize("cfg", [None, [], {}, {"backbone": []}, {"backbone": [], "head": []}, {"backbone": {}, "head": []}])
def test_what_is_no_model_yaml_is_refused(cfg):
    with pytest.raises(HostError):
        table.parse_rows(cfg)


@pytest.mark.parametrize("scales", [[1], {"n": [1, 2]}, {"n": [1, 2, float("nan")]}, {"n": [0, 1, 1]}, {"n": ["a", 1, 1]}])
def test_broken_scales_are_refused(scales):
    with pytest.raises(HostError, match="scales"):
        table.scales({"scales": scales})


def test_an_unknown_scale_is_refused():
    with pytest.raises(HostError, match="The scale is t, but the file's `scales` are n, s"):
        table.scales({"scales": {"n": [1, 1, 1], "s": [1, 1, 1]}, "scale": "t"})


@pytest.mark.parametrize("text", ["backbone: [&a [*a, 1, SE, []]]\nhead: []", "&a {backbone: [], head: [*a]}",
                                  f"backbone: []\nhead: [{'[' * 40}{']' * 40}]"])
def test_a_file_that_holds_itself_is_refused(text):
    with pytest.raises(HostError, match="nested more than 20 deep"):
        table.parse_rows(yaml.safe_load(text))


def test_what_grows_with_every_alias_is_shown_in_a_line():
    value = ["x"]
    for _ in range(15):
        value = [value] * 9
    assert len(table.short_text(value)) < 50_000
    with pytest.raises(HostError, match="is not a row"):
        table.parse_rows({"backbone": [value], "head": []})
