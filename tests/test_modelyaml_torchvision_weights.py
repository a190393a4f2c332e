"""A row that lets torchvision download weights is a finding and is not built, unless they are here or allowed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision import models
from ultralytics.nn.tasks import ClassificationModel

from yolograft import YOLO, GraftError, network
from yolograft.cli import main
from yolograft.host.models import building
from yolograft.modelyaml import catalog, table
from yolograft.modelyaml.lint import lint
from yolograft.modelyaml.torchvision_weights import check_weights, find_download

needs_the_module = pytest.mark.skipif(not catalog.has_module("TorchVision"), reason="this Ultralytics lacks TorchVision")
ROW = "[-1, 1, TorchVision, [512, resnet18{weights}]]"
DEFAULT = str(models.ResNet18_Weights.DEFAULT.url)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of PyTorch's, and no download in this process."""
    monkeypatch.delenv(network.ASSETS, raising=False)
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda url, *_, **__: pytest.fail(f"downloads {url}"))
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def write(file: Path, weights: str = "") -> Path:
    file.write_text(f"nc: 2\nbackbone:\n  - {ROW.format(weights=weights)}\nhead:\n  - [-1, 1, Classify, [nc]]\n")
    return file


@pytest.mark.parametrize(("args", "url"), [
    ([512, "resnet18"], DEFAULT), ([512, "resnet18", "DEFAULT", True, 2], DEFAULT), ([512, "resnet18", True], DEFAULT),
    ([512, "resnet18", "ResNet18_Weights.IMAGENET1K_V1"], DEFAULT),
    ([512, "resnet50", "IMAGENET1K_V1"], models.ResNet50_Weights.IMAGENET1K_V1.url),
    ([512, "resnet18", "None"], None), ([512, "resnet18", None], None), ([512, "resnet18", False], None),
    ([512, "resnet18", "IMAGENET9"], None), ([512, "no_model"], None), ([512], None), ([], None)])
def test_the_address_is_torchvisions_own(args: list[Any], url: str | None) -> None:
    assert find_download(table.parse_row(0, "backbone", [-1, 1, "TorchVision", args])) == url


def test_weights_that_are_here_are_used(cache: Path) -> None:
    row = table.parse_row(0, "backbone", [-1, 1, "TorchVision", [512, "resnet18"]])
    (cache / Path(DEFAULT).name).touch()
    assert find_download(row) is None


def test_the_switch_allows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(network.ASSETS, "1")
    check_weights({"backbone": [[-1, 1, "TorchVision", [512, "resnet18"]]], "head": []})


@needs_the_module
def test_lint_tells_it(tmp_path: Path) -> None:
    found = [one for one in lint(write(tmp_path / "a.yaml")) if "weights" in one.what]
    assert len(found) == 1
    assert (found[0].row, found[0].severity) == (0, "warning")
    assert DEFAULT in found[0].what
    assert network.ASSETS in found[0].fix
    assert not [one for one in lint(write(tmp_path / "b.yaml", ", None")) if "weights" in one.what]


@needs_the_module
@pytest.mark.parametrize("words", [("show",), ("sites",), ("bench",), ("train", "data=mnist160", "epochs=1")],
                         ids=lambda words: words[0])
def test_no_command_builds_the_row(words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "a.yaml")
    assert main([words[0], f"model={file}", *words[1:]]) != 0
    said = capsys.readouterr().err
    assert f"{file}: row 0 {ROW.format(weights='')} needs the weights {DEFAULT}" in said
    assert f"{network.ASSETS}=1" in said
    assert said.count("\n") == 1


@needs_the_module
def test_without_weights_and_with_those_that_are_here_it_is_built(cache: Path, tmp_path: Path) -> None:
    assert YOLO(write(tmp_path / "a.yaml", ", None")).task == "classify"
    torch.manual_seed(1)
    network = models.resnet18()
    torch.save(network.state_dict(), cache / Path(DEFAULT).name)
    opened: Any = YOLO(write(tmp_path / "b.yaml")).model
    torch.testing.assert_close(opened.model[0].m[0].weight, network.conv1.weight)


@needs_the_module
def test_a_model_that_is_rebuilt_from_its_own_dict_does_not_download_either(cache: Path, tmp_path: Path) -> None:
    file = cache / Path(DEFAULT).name
    torch.save(models.resnet18().state_dict(), file)
    model = YOLO(write(tmp_path / "a.yaml"))
    file.unlink()
    with pytest.raises(GraftError, match="needs the weights"), building():
        ClassificationModel(dict(model.model.yaml))
