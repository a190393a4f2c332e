"""A trained block is never dropped without being asked for; the public functions take `YOLO` objects, ours and stock."""

from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
from torch import nn

import yolograft
from yolograft import YOLO, GraftError
from yolograft.attach import grafted, grafts
from yolograft.cli import main
from yolograft.host import models

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
FAST = {"imgsz": 32, "batch": 4, "workers": 0, "plots": False, "verbose": False, "close_mosaic": 0, "epochs": 1}


def save_trained(path: Path, graft: str = "se(init=paper)@8") -> Path:
    """Save a checkpoint whose blocks count as trained."""
    model = YOLO("yolo11n.yaml", graft=graft)
    models.mark_fresh(model.model, ())
    model.save(path)
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_trained(tmp_path_factory.mktemp("trained") / "mine.pt")


def block_weights(model: nn.Module, prefix: str = "model.8.graft.0") -> torch.Tensor:
    return torch.cat([value.flatten().clone() for value in grafts(model)[prefix].state_dict().values()])


@pytest.mark.parametrize("graft", ["eca@8", "eca@p3 + se(init=paper)@8", "se@8", "se(init=paper)@9", "se(init=paper)@8/pre"])
def test_a_graft_that_drops_trained_blocks_is_refused_and_both_are_named(graft: str, trained: Path, tmp_path: Path) -> None:
    model = YOLO(trained)
    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    for action in (lambda: YOLO(trained, graft=graft), lambda: model.train(data="none.yaml", graft=graft),
                   lambda: model.tune(data="none.yaml", graft=graft)):
        with pytest.raises(GraftError) as raised:
            action()
        for said in ("mine.pt", "'se(init=paper)@8'", f"graft={graft} would drop", "replace=True", "graft=none"):
            assert said in str(raised.value)
    after = model.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[key], value) for key, value in before.items())


@pytest.mark.parametrize("graft", ["se(init=paper)@8", "se(init=paper)@backbone.8", "se( init = paper )@backbone.-3",
                                   "se(init=paper, ratio=16)@8"])
def test_the_same_graft_in_other_words_keeps_the_trained_blocks(graft: str, trained: Path) -> None:
    model = YOLO(trained, graft=graft)
    assert torch.equal(block_weights(model.model), block_weights(YOLO(trained).model))
    assert str(model.graft) == str(YOLO(trained).graft)


@pytest.mark.parametrize(("graft", "new"), [
    ("se(init=paper)@8 + eca@p3", {"model.23.graft_in.0.0"}), ("se(init=paper)@8,9", {"model.9.graft.0"}),
    ("se(init=paper)@backbone.8 + eca@8", {"model.8.graft.1"}),
])
def test_a_graft_that_starts_with_the_trained_one_adds_the_rest(graft: str, new: set[str], trained: Path) -> None:
    model = YOLO(trained, graft=graft)
    assert set(grafts(model.model)) == {"model.8.graft.0", *new}
    assert torch.equal(block_weights(model.model), block_weights(YOLO(trained).model))
    assert models.fresh_blocks(model.model) == new


def test_a_training_keeps_the_trained_block_and_its_seed_decides_the_new_one(
    trained: Path, tiny_set: Path, tmp_path: Path
) -> None:
    found: dict[int, dict[str, torch.Tensor]] = {}
    for seed in (0, 1):
        torch.manual_seed(len(found))
        model = YOLO(trained)
        model.add_callback("on_train_start", lambda trainer, seed=seed: found.setdefault(seed, {
            prefix: block_weights(trainer.model, prefix) for prefix in grafts(trainer.model)}))
        model.train(data=str(tiny_set), graft="se(init=paper)@8 + se@9", seed=seed, project=str(tmp_path), **FAST)
    expected = block_weights(YOLO(trained).model)
    torch.testing.assert_close(found[0]["model.8.graft.0"], expected, atol=1e-3, rtol=1e-3)  # stored in half precision
    assert not torch.equal(found[0]["model.9.graft.0"], found[1]["model.9.graft.0"])


@pytest.mark.parametrize(("graft", "expected"), [("eca@9", "eca@9"), ("none", "none")])
def test_replace_and_none_drop_the_blocks_and_say_so(
    graft: str, expected: str, trained: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ultralytics.utils.LOGGER, "propagate", True)
    model = YOLO(trained, graft=graft, replace=graft != "none")
    assert models.short_text(str(model.graft)) == expected
    assert "removed the graft se(init=paper)@8" in caplog.text


def test_blocks_that_were_never_trained_can_be_replaced() -> None:
    model = YOLO("yolo11n.yaml", graft="se@8")
    assert models.short_text(str(YOLO("yolo11n.yaml", graft="se@8").graft)) == "se@8"
    from yolograft.host.yolo import set_graft

    set_graft(model, "eca@9")
    assert models.short_text(str(model.graft)) == "eca@9"


@pytest.mark.parametrize("mode", ["train", "val", "predict", "export", "tune"])
def test_the_command_line_refuses_in_one_line(
    mode: str, trained: Path, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = {"predict": [f"source={tiny_set.parent}"], "export": []}.get(mode, [f"data={tiny_set}"])
    assert main([mode, f"model={trained}", "graft=eca@8", *words]) == 2
    printed = capsys.readouterr().err
    assert "would drop these blocks" in printed
    assert len(printed.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_study_refuses_an_arm_that_drops_trained_blocks(trained: Path, tiny_set: Path) -> None:
    from yolograft.runner import train as host

    with pytest.raises(GraftError, match="would drop these blocks"):
        host.check(str(trained), "eca@8", {"data": str(tiny_set), "epochs": 1})
    host.check(str(trained), "none", {"data": str(tiny_set), "epochs": 1})
    host.check(str(trained), "se(init=paper)@8 + eca@8", {"data": str(tiny_set), "epochs": 1})


# `YOLO` objects


@pytest.mark.parametrize("cls", [YOLO, ultralytics.YOLO])
def test_the_public_functions_take_a_yolo_object(cls: Any) -> None:
    model = cls("yolo11n.yaml")
    keys = set(model.model.state_dict())
    assert len(yolograft.sites(model)) == len(yolograft.sites(model.model))
    assert yolograft.graft(model, "se@8") is model
    assert type(model.model).__name__ == "GraftedDetectionModel"
    assert model.model.yaml["graft"].startswith("se(")
    yolograft.graft(model, "eca@9")
    assert models.short_text(str(grafted(model.model))) == "se@8 + eca@9"
    with pytest.raises(GraftError, match="88"):
        yolograft.graft(model, "se@88")
    assert yolograft.prune(model) is model
    assert set(model.model.state_dict()) == keys
    assert not model.model.yaml.get("graft")
    assert type(model.model).__name__ == "DetectionModel"


def test_a_stock_object_that_got_a_graft_trains_it(tiny_set: Path, tmp_path: Path) -> None:
    model = ultralytics.YOLO("yolo11n.yaml")
    yolograft.graft(model, "se@8")
    model.train(data=str(tiny_set), project=str(tmp_path), name="r", **FAST)
    assert models.short_text(str(YOLO(tmp_path / "r" / "weights" / "last.pt").graft)) == "se@8"


@pytest.mark.parametrize("cls", [YOLO, ultralytics.YOLO])
def test_an_exported_model_has_no_sites_and_takes_no_graft(cls: Any, tmp_path: Path) -> None:
    (tmp_path / "best.onnx").touch()
    model = cls(tmp_path / "best.onnx", task="detect")
    for action in (lambda: yolograft.sites(model), lambda: yolograft.graft(model, "se@8")):
        with pytest.raises(GraftError, match=r"PyTorch model"):
            action()


@pytest.mark.parametrize("second", ["se@8", "none", "se@8 + eca@9", yolograft.Graft.parse("se@8"), ["se@8"]])
def test_a_graft_as_the_second_argument_names_the_right_one(second: Any) -> None:
    with pytest.raises(GraftError, match="graft="):
        YOLO("yolo11n.yaml", second)


# Names of exported files


@pytest.mark.parametrize(("graft", "expected"), [
    ("none", "bare"), ("se@8", "se-8"), ("se@8 + eca@p3,p4", "se-8_eca-p3-p4"), ("se(ratio=16)@8", "se-8"),
])
def test_a_graft_as_a_part_of_a_file_name(graft: str, expected: str) -> None:
    assert models.file_name_part(yolograft.Graft.parse(graft)) == expected


def test_two_grafts_have_two_file_names_of_safe_characters() -> None:
    texts = ["se@8", "se@8/pre", "se(ratio=8)@8", "se(ratio=4)@8", "se@backbone.8", "se@C3k2", "se@C3k2[1]", "se@C3k2[-1]",
             "se@model.*.m.**.cv2", "se@8>9", "se@Bottleneck/skip", "se@8 + se@9", "se@8,9", "eca(gamma=1, b=2)@8",
             "se@" + ",".join(map(str, range(23))), "se@" + ",".join(map(str, range(22)))]
    names = [models.file_name_part(yolograft.Graft.parse(text)) for text in texts]
    assert len({name.lower() for name in names}) == len(texts)
    assert all(name.replace("-", "").replace("_", "").isalnum() and len(name) < 80 for name in names)


@pytest.mark.parametrize("format", ["torchscript", "safetensors"])
def test_an_export_never_overwrites_that_of_the_bare_model(format: str, tmp_path: Path) -> None:
    path = tmp_path / "my models" / "模型.pt"
    path.parent.mkdir()
    YOLO("yolo11n.yaml").save(path)
    written = [Path(YOLO(path, graft=graft).export(format=format, imgsz=32)) for graft in (None, "se@8", "se(ratio=4)@8")]
    assert [file.name for file in written[:2]] == [f"模型.{format}", f"模型-se-8.{format}"]
    assert len(set(written)) == 3
    assert all(file.is_file() and file.parent == path.parent for file in written)


def test_an_export_of_a_checkpoint_has_its_name(trained: Path) -> None:
    for graft, name in ((None, "mine"), ("se(init=paper)@8", "mine"), ("none", "mine-bare")):
        assert Path(YOLO(trained, graft=graft).export(format="safetensors")).name == f"{name}.safetensors"


def test_an_export_of_a_yaml_file_is_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for graft in (None, "se@8"):
        YOLO("yolo11n.yaml", graft=graft).export(format="torchscript", imgsz=32)
        YOLO("yolo11n.yaml", graft=graft).export(format="safetensors")
    names = {f"yolo11n{middle}.{end}" for middle in ("", "-se-8") for end in ("torchscript", "safetensors")}
    assert {path.name for path in tmp_path.iterdir()} == names


@pytest.mark.parametrize(("format", "package", "said"), [
    ("onnx", "onnx", 'pip install "yolograft[export]"'), ("openvino", "openvino", 'pip install "yolograft[export]"'),
])
def test_a_missing_exporter_is_named_with_the_command_that_installs_it(
    format: str, package: str, said: str, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from yolograft.host import yolo

    monkeypatch.setattr(yolo, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(GraftError, match=f"format={format} needs the package {package}") as raised:
        YOLO(trained).export(format=format, imgsz=32)
    assert said in str(raised.value)


def test_an_exporter_that_misses_a_package_names_it(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ModuleNotFoundError("No module named 'ncnn_of_the_test'", name="ncnn_of_the_test.parts")

    monkeypatch.setattr(ultralytics.YOLO, "export", fail)
    with pytest.raises(GraftError, match=r"pip install ncnn_of_the_test"):
        YOLO(trained).export(format="ncnn")
