"""A model keeps its graft in training, validation, prediction, export and resume, on the installed Ultralytics."""

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
import ultralytics
from torch import nn
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.modules import Conv
from ultralytics.nn.tasks import DetectionModel

import yolograft
from yolograft import YOLO, GraftError
from yolograft.attach import grafted, grafts
from yolograft.host import models, safetensors_file
from yolograft.host.subprocesses import yolograft_command
from yolograft.host.trainer import grafted_trainer

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' and its exporters' own warnings
FAST = {"imgsz": 32, "batch": 4, "nbs": 4, "workers": 0, "plots": False, "verbose": False, "mosaic": 0.5, "close_mosaic": 0}


@pytest.fixture(scope="module")
def trained(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = tmp_path_factory.mktemp("runs")
    model = YOLO("yolo11n.yaml", graft="se@8")
    model.train(data=str(tiny_set), epochs=2, project=str(project), name="a", **FAST)
    assert str(grafted(model.model)).startswith("se(")
    return project / "a"


def test_the_installed_version_is_the_expected_one() -> None:
    expected = os.environ.get("YOLOGRAFT_EXPECT_ULTRALYTICS")
    if expected is None:
        pytest.skip("YOLOGRAFT_EXPECT_ULTRALYTICS is not set: any installed version will do")
    assert ultralytics.__version__ == expected


def test_the_graft_is_trained_and_saved_in_the_checkpoint(trained: Path) -> None:
    model = YOLO(trained / "weights" / "last.pt")
    assert models.short_text(str(model.graft)) == "se@8"
    block = grafts(model.model)["model.8.graft.0"]
    assert block.fc2.weight.abs().sum() > 0, "the last layer is still zero: it was not trained"
    assert "se(" in (trained / "graft.yaml").read_text()
    assert model.model.yaml.get("graft") == str(model.graft)


def test_stock_yolo_opens_the_checkpoint_and_gives_the_same_output(trained: Path, tiny_set: Path) -> None:
    file, x = str(trained / "weights" / "best.pt"), torch.rand(1, 3, 32, 32)
    ours, stock = YOLO(file), ultralytics.YOLO(file)
    assert torch.equal(ours.model.eval()(x)[0], stock.model.eval()(x)[0])
    stock.val(data=str(tiny_set), plots=False, imgsz=32, workers=0, project=str(trained), name="v")
    stock.predict(tiny_set.parent / "images" / "val" / "0.png", imgsz=32, verbose=False)


@pytest.mark.parametrize("resume", [False, True])
def test_stock_training_never_drops_the_graft_silently(trained: Path, tiny_set: Path, resume: bool) -> None:
    stock = ultralytics.YOLO(str(trained / "weights" / "last.pt"))
    with pytest.raises(GraftError, match="yolograft train"):
        stock.train(data=str(tiny_set), epochs=1, project=str(trained), name="s", **FAST)
    with pytest.raises(GraftError, match="carries the graft 'se@8'"):
        DetectionTrainer(overrides={"model": str(trained / "weights" / "last.pt"), "data": str(tiny_set), **FAST,
                                    "epochs": 1, "project": str(trained), "name": "t"}).train()


def test_a_grafted_checkpoint_can_be_trained_and_get_another_graft(trained: Path, tiny_set: Path) -> None:
    model = YOLO(trained / "weights" / "best.pt")
    before = {k: v.clone() for k, v in model.model.state_dict().items()}
    model.train(data=str(tiny_set), epochs=1, project=str(trained), name="b", freeze=10, **FAST)
    after = model.model.state_dict()
    assert torch.equal(after["model.8.cv1.conv.weight"], before["model.8.cv1.conv.weight"]), "freeze=10 did not freeze row 8"
    assert not torch.equal(after["model.8.graft.0.fc2.weight"], before["model.8.graft.0.fc2.weight"])
    bare = YOLO(trained / "weights" / "best.pt", graft="none")
    assert type(bare.model).__name__ == "DetectionModel"
    assert not bare.graft
    other = YOLO(trained / "weights" / "best.pt", graft="se(ratio=4)@p3", replace=True)
    assert models.short_text(str(other.graft)) == "se(ratio=4)@p3"


def test_pretrained_host_tensors_all_load(weights: Path, tiny_set: Path, tmp_path: Path) -> None:
    model = YOLO(weights, graft="se@8 + se@Bottleneck.cv2")
    bare = ultralytics.YOLO(str(weights)).model.state_dict()
    assert len(bare) == 499
    trainer = grafted_trainer(DetectionTrainer)(overrides={"model": str(weights), "data": str(tiny_set), "graft": "se@8",
                                                           "project": str(tmp_path), **FAST})
    trainer.setup_model()
    loaded = trainer.model.state_dict()
    head = "model.23.cv3"
    assert all(torch.equal(model.model.state_dict()[key], value) for key, value in bare.items())
    kept = [key for key, value in bare.items() if not key.startswith(head) and torch.equal(loaded[key], value)]
    assert len(kept) == sum(not key.startswith(head) for key in bare)


def test_resume_keeps_the_graft(tiny_set: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(trainer: object) -> None:
        raise Stop

    model = YOLO("yolo11n.yaml", graft="se@8")
    model.add_callback("on_model_save", stop)
    with pytest.raises(Stop):
        model.train(data=str(tiny_set), epochs=3, project=str(tmp_path), name="r", **FAST)
    last = tmp_path / "r" / "weights" / "last.pt"
    resumed = YOLO(last)
    with pytest.raises(GraftError, match="resume continues with the checkpoint's own graft"):
        resumed.train(resume=True, graft="se@9")
    resumed.train(resume=True)
    assert models.short_text(str(YOLO(last).graft)) == "se@8"
    assert len((tmp_path / "r" / "results.csv").read_text().splitlines()) == 4


def test_the_same_seed_gives_the_same_results(tiny_set: Path, tmp_path: Path) -> None:
    import csv

    def results(name: str, graft: str) -> list[list[str]]:
        YOLO("yolo11n.yaml").train(data=str(tiny_set), epochs=2, seed=3, graft=graft, project=str(tmp_path), name=name,
                                   **FAST)
        rows = list(csv.reader((tmp_path / name / "results.csv").read_text().splitlines()))
        timed = rows[0].index("time") if "time" in [c.strip() for c in rows[0]] else None
        return [[cell for at, cell in enumerate(row) if at != timed] for row in rows]

    assert results("one", "se@8") == results("two", "se@8")


def test_the_training_seed_alone_decides_the_weights_of_new_blocks(trained: Path, tiny_set: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def initial_weights(seed: int, state: int, graft: str | None = "se@9") -> torch.Tensor:
        torch.manual_seed(state)  # as if other code had drawn random numbers before
        model = YOLO(trained / "weights" / "best.pt", graft=graft, replace=True)
        found = []

        def record(trainer: BaseTrainer) -> None:
            found.extend(block.fc1.weight.detach().clone() for block in grafts(trainer.model).values())
            raise Stop  # the weights are complete, and the epoch would not change them

        model.add_callback("on_train_start", record)
        with pytest.raises(Stop):
            model.train(data=str(tiny_set), epochs=1, seed=seed, project=str(tmp_path), name="f", **FAST)
        return found[0]

    assert torch.equal(initial_weights(0, 1), initial_weights(0, 2))
    assert not torch.equal(initial_weights(0, 1), initial_weights(1, 1))
    trained_weights = grafts(YOLO(trained / "weights" / "best.pt").model)["model.8.graft.0"].fc1.weight
    assert torch.equal(initial_weights(5, 1, None), trained_weights), "a trained block keeps its weights"


def test_a_process_of_a_multi_gpu_training_rebuilds_the_graft(tiny_set: Path, tmp_path: Path) -> None:
    cls = grafted_trainer(DetectionTrainer)
    arguments = {"model": "yolo11n.yaml", "data": str(tiny_set), "graft": "se@8", "project": str(tmp_path)}
    trainer = cls(overrides={**arguments, **FAST})
    trainer.args.graft = trainer.graft_text  # as train() does for several GPUs
    overrides = {**vars(trainer.args), "project": str(tmp_path), "name": "child"}
    module = __import__(cls.__module__, fromlist=[cls.__name__])
    child = getattr(module, cls.__name__)(cfg={**ultralytics.utils.DEFAULT_CFG_DICT, "save_dir": ""}, overrides=overrides)
    child.setup_model()
    assert models.short_text(str(grafted(child.model))) == "se@8"


@pytest.mark.parametrize("format", ["torchscript", "onnx", "openvino"])
def test_exports_give_the_output_of_pytorch(trained: Path, format: str) -> None:
    if format == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    if format == "openvino":
        pytest.importorskip("openvino")
        if ultralytics.__version__ == "8.3.0":
            pytest.skip("8.3.0 needs an older OpenVINO than this Python supports")
    model = YOLO(trained / "weights" / "best.pt")
    x = torch.rand(1, 3, 32, 32)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        expected = model.model.eval()(x)[0]
        file = model.export(format=format, imgsz=32, simplify=False) if format == "onnx" else model.export(
            format=format, imgsz=32)
        if format == "onnx":
            import onnxruntime

            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            output = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
        elif format == "openvino":
            import openvino

            compiled = openvino.Core().compile_model(next(Path(file).glob("*.xml")), "CPU",
                                                     {"INFERENCE_PRECISION_HINT": "f32"})
            output = torch.from_numpy(compiled(x.numpy())[0])
        else:
            output = torch.jit.load(file)(x)
            output = output[0] if isinstance(output, (tuple, list)) else output
    torch.testing.assert_close(output, expected, atol=1e-3, rtol=1e-3)


def test_every_task_has_a_grafted_trainer() -> None:
    model = YOLO("yolo11n.yaml")
    for task, row in model.task_map.items():
        if row.get("trainer"):
            assert issubclass(row["trainer"], yolograft.host.trainer.GraftTrainer), task


@pytest.mark.parametrize("training", [False, True])
def test_the_activation_of_a_yaml_does_not_affect_later_models(training: bool, tiny_set: Path, tmp_path: Path) -> None:
    """yolov6 uses ReLU. Stock 8.3.0 then builds all later models with ReLU too."""
    before = type(Conv(4, 4).act)
    if training:
        overrides = {"model": "yolov6n.yaml", "data": str(tiny_set), "project": str(tmp_path), **FAST}
        network = grafted_trainer(DetectionTrainer)(overrides=overrides).get_model("yolov6n.yaml", verbose=False)
    else:
        network = YOLO("yolov6n.yaml").model
    assert any(isinstance(module, nn.ReLU) for module in network.modules())
    assert type(Conv(4, 4).act) is before is nn.SiLU


def test_fusing_keeps_a_block_on_a_batch_norm() -> None:
    model = YOLO("yolo11n.yaml", graft="se(init=paper)@model.8.cv2.bn").model.eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(x)[0]
        model.fuse(verbose=False)
        torch.testing.assert_close(model(x)[0], before, atol=1e-3, rtol=1e-3)
    assert list(grafts(model)) == ["model.8.cv2.conv.graft.0"]


@pytest.mark.parametrize("text", ["se@model.0.conv", "se@model.0.bn/pre"])
def test_a_site_whose_block_fusing_would_remove_raises_an_error(text: str) -> None:
    with pytest.raises(GraftError, match=r"Did you mean .model\.0\.bn"):
        YOLO("yolo11n.yaml", graft=text)


def test_a_safetensors_checkpoint_equals_the_pickled_one_and_can_be_trained(trained: Path, tiny_set: Path) -> None:
    model = YOLO(trained / "weights" / "best.pt")
    file = Path(model.export(format="safetensors"))
    assert file == trained / "weights" / "best.safetensors"
    other, x = YOLO(file), torch.rand(1, 3, 32, 32)
    assert torch.equal(model.model.eval()(x)[0], other.model(x)[0])
    assert (other.names, other.graft, other.task) == (model.names, model.graft, model.task)
    assert isinstance(other.ckpt, dict)
    other.val(data=str(tiny_set), plots=False, imgsz=32, workers=0, project=str(trained), name="safe")
    before = model.model.state_dict()["model.8.graft.0.fc2.weight"].clone()
    other.train(data=str(tiny_set), epochs=1, project=str(trained), name="safe_train", warmup_epochs=0, lr0=1e-12,
                optimizer="SGD", **FAST)
    torch.testing.assert_close(other.trainer.model.state_dict()["model.8.graft.0.fc2.weight"], before, atol=1e-4, rtol=0)


def test_a_safetensors_checkpoint_keeps_the_width_of_a_pretrained_class_branch(tmp_path: Path) -> None:
    # from 80 classes to 2, newer Ultralytics keeps 80 channels in a class branch; a new model has 64
    pretrained, model = (DetectionModel("yolo11n.yaml", nc=classes, verbose=False) for classes in (80, 2))
    for branch, pretrained_branch in zip(model.model[-1].cv3, pretrained.model[-1].cv3, strict=True):
        branch[0], branch[1], branch[2] = pretrained_branch[0], pretrained_branch[1], nn.Conv2d(80, 2, 1)
    models.graft_onto(model, "se(init=paper)@8 + eca@model.23.cv3.0.1")
    model.args = {}
    other, x = YOLO(safetensors_file.save_file(model, tmp_path / "wide")), torch.rand(1, 3, 32, 32)
    assert torch.equal(model.eval()(x)[0], other.model(x)[0])


@pytest.mark.parametrize("text", ["se(init=paper)@model.23.cv3.*.1 + eca@8", "none"])
def test_blocks_in_the_head_are_not_copied_twice(text: str, tiny_set: Path, tmp_path: Path) -> None:
    pretrained = DetectionModel("yolo11n.yaml", nc=80, verbose=False)
    models.graft_onto(pretrained, "se(init=paper)@model.23.cv3.*.1 + eca@8")
    trainer = grafted_trainer(DetectionTrainer)(overrides={"model": "yolo11n.yaml", "data": str(tiny_set), "graft": text,
                                                           "project": str(tmp_path)})
    network = trainer.get_model({**pretrained.yaml, "nc": 2}, weights=pretrained, verbose=False)
    expected = grafts(pretrained) if text != "none" else {}
    assert grafts(network).keys() == expected.keys()
    pretrained_state = pretrained.state_dict()
    keeps_width = network.model[-1].cv3[0][-1].in_channels == 80  # in newer versions; in others, its blocks are new
    for key, value in network.state_dict().items():
        if any(key.startswith(prefix) for prefix in expected) and (keeps_width or "cv3" not in key):
            assert torch.equal(value, pretrained_state[key]), key


def test_a_safetensors_file_of_another_module_raises_an_error(tmp_path: Path) -> None:
    from yolograft import checkpoint

    with pytest.raises(GraftError, match="does not say which Ultralytics model"):
        YOLO(checkpoint.save(torch.nn.Conv2d(3, 3, 1), tmp_path / "conv"))


def test_tracking_keeps_the_graft(trained: Path, tiny_set: Path) -> None:
    pytest.importorskip("lap")
    images = sorted((tiny_set.parent / "images" / "val").glob("*.png"))[:2]
    model = YOLO(trained / "weights" / "best.pt")
    assert len(model.track([str(path) for path in images], imgsz=32, verbose=False, persist=True)) == 2
    assert models.short_text(str(model.graft)) == "se@8"


def test_subprocesses_run_yolograft_train() -> None:
    for stock in (["yolo"], ["python", "-m", "ultralytics.cfg.__init__"]):
        ours = yolograft_command([*stock, "train", "model=a b.pt", "graft=se@8"], ["graft=eca@8", "blocks=mine.py"])
        assert ours[1:] == ["-m", "yolograft", "train", "model=a b.pt", "graft=se@8", "blocks=mine.py"]
    ddp = ["python", "-m", "torch.distributed.run", "--nproc_per_node", "2", "_temp.py"]
    assert yolograft_command(ddp, ["graft=se@8"]) == ddp
    # Ultralytics passes its own threshold in every command, and the box loss has the same key
    ours = yolograft_command(["yolo", "train", "iou=0.7", "epochs=1"], ["iou=wiou"])
    assert ours[3:] == ["train", "epochs=1", "iou=wiou"]


def test_tuning_trains_the_grafted_model(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(yolograft.__file__).parents[1]), *sys.path]))
    model = YOLO("yolo11n.yaml", graft="se@8")
    model.tune(data=str(tiny_set), iterations=1, epochs=1, project=str(tmp_path), name="t", val=False, **FAST)
    checkpoints = [path for path in tmp_path.rglob("*.pt") if path.parent.name == "weights"]
    assert checkpoints, "tuning wrote no checkpoint"
    assert {models.short_text(str(YOLO(path).graft)) for path in checkpoints} == {"se@8"}
    assert ultralytics.engine.tuner.__dict__.get("subprocess", subprocess) is subprocess


@pytest.mark.slow
def test_compiled_and_mixed_precision_training_keep_the_graft(tiny_set: Path, tmp_path: Path) -> None:
    if "compile" not in ultralytics.utils.DEFAULT_CFG_DICT:
        pytest.skip("this Ultralytics has no compile argument")
    YOLO("yolo11n.yaml", graft="se@8").train(data=str(tiny_set), epochs=1, compile=True, amp=True, project=str(tmp_path),
                                              name="c", **FAST)
    assert models.short_text(str(YOLO(tmp_path / "c" / "weights" / "last.pt").graft)) == "se@8"


@pytest.mark.parametrize("name", ["DetectionTrainer", "ClassificationTrainer", "RTDETRTrainer"])
def test_a_started_process_can_import_a_grafted_trainer_by_name(name: str) -> None:
    code = f"from yolograft.host.trainer import Graft{name}; print(Graft{name}.__mro__[2].__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip().endswith(name), done.stderr
