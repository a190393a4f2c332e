"""A model YAML of a stranger runs no code and does not take unbounded time, in every command that opens one."""

from pathlib import Path

import pytest
import yaml
from torch import nn

from yolograft.cli import main
from yolograft.errors import HostError
from yolograft.host.models import building
from yolograft.host.yolo import YOLO
from yolograft.modelyaml import catalog, untrusted
from yolograft.modelyaml.lint import lint

ROWS = {"backbone": [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]], [-1, 1, "Conv", [32, 3, 2]]],
        "head": [[[1, 2], 1, "Detect", ["nc"]]]}
CODE = [
    "__import__('os').system('touch {file}')",
    "open('{file}', 'w')",
    "nn.SiLU() if open('{file}', 'w') else None",
    "nn.Module.__subclasses__()[0](open('{file}', 'w'))",
    "nn.ReLU(inplace=open('{file}', 'w'))",
    "nn.ReLU(*[open('{file}', 'w')])",
    "nn.ReLU(**dict(inplace=open('{file}', 'w')))",
    "(lambda: open('{file}', 'w'))()",
    "nn.init.os.system('touch {file}')",
    "torch.hub.load('{file}', 'x', source='local')",
    "[open('{file}', 'w')]",
    "nn.SiLU().__class__.__base__(open('{file}', 'w'))",
]
NOT_LAYERS = ["torch_safe_load", "attempt_load_one_weight", "yaml_model_load", "torch", "contextlib", "nn.Module.eval",
              "load_checkpoint", "DetectionModel", "nn.os", "torchvision.ops.os", "guess_model_task"]
COMMANDS = (("lint", "{file}"), ("show", "model={file}"), ("sites", "model={file}"), ("bench", "model={file}", "graft=none"),
            ("train", "model={file}", "data=coco8.yaml"), ("val", "model={file}"), ("export", "model={file}"),
            ("study", "model={file}", "data=coco8.yaml", "arms=none; se@1"), ("yaml", "model={file}", "graft=se@1"))


def write(folder: Path, **keys: object) -> Path:
    file = folder / "stranger.yaml"
    file.write_text(yaml.safe_dump({"nc": 2, **ROWS, **keys}))
    return file


@pytest.mark.parametrize("text", CODE)
def test_activation_runs_no_code(text: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    file = write(tmp_path, activation=text.format(file=mark))
    with pytest.raises(HostError, match="is not an activation of"):
        YOLO(file)
    findings = lint(file)
    assert findings[0].severity == "error"
    assert "is not an activation" in findings[0].what
    with building(), pytest.raises(HostError, match="is not an activation of"):
        build_dict({"nc": 2, **ROWS, "activation": text.format(file=mark)})
    assert not mark.exists()


def build_dict(config: dict[str, object]) -> object:
    """Build a dict as Ultralytics does for a checkpoint's."""
    from ultralytics.nn import tasks

    return tasks.parse_model(config, ch=3, verbose=False)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_every_command_refuses_code_in_one_line(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "ran"
    file = write(tmp_path, activation=f"__import__('os').system('touch {mark}')")
    assert main([word.format(file=file) for word in words]) != 0
    output = capsys.readouterr()
    assert not mark.exists()
    assert "is not an activation of torch.nn" in output.out + output.err
    assert "Traceback" not in output.err


@pytest.mark.parametrize("text", ["nn.SiLU()", "torch.nn.ReLU()", "nn.LeakyReLU(0.1)", "nn.LeakyReLU(negative_slope=0.1)",
                                  "nn.ReLU(inplace=True)", " nn.Hardswish() ", "nn.Mish()", "nn.Identity()"])
def test_known_activations_are_built(text: str, tmp_path: Path) -> None:
    network = YOLO(write(tmp_path, activation=text)).model
    name = text.strip().partition("(")[0].rpartition(".")[2]
    assert type(network.model[0].act) is getattr(nn, name)


def test_a_misspelled_activation_names_the_nearest() -> None:
    with pytest.raises(HostError, match=r"Did you mean 'LeakyReLU'\?"):
        untrusted.check_activation("nn.LeakyRelu(0.1)")


def test_every_packaged_file_passes() -> None:
    files = catalog.packaged_files()
    assert len(files) > 20
    for file in files:
        untrusted.check_activation(yaml.safe_load(file.read_text(encoding="utf-8")).get("activation"))
        untrusted.check_repeats(yaml.safe_load(file.read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", NOT_LAYERS)
def test_only_layers_are_built(name: str, tmp_path: Path) -> None:
    rows = [*ROWS["backbone"][:2], [-1, 1, name, ["evil.pt"]]]
    with pytest.raises(HostError):
        YOLO(write(tmp_path, backbone=rows))
    with building(), pytest.raises(HostError, match="is not the class of a layer"):
        build_dict({"nc": 2, **ROWS, "backbone": rows})


@pytest.mark.parametrize("repeats", [201, 10**9, 1e12])
def test_many_repeats_are_refused_at_once(repeats: float, tmp_path: Path) -> None:
    for module, args in (("Conv", [16, 3, 2]), ("C2f", [16]), ("SE", [16])):
        rows = [*ROWS["backbone"][:2], [-1, repeats, module, args]]
        file = write(tmp_path, backbone=rows)
        with pytest.raises(HostError, match="more than 200 times"):
            YOLO(file)
        assert any("repeats" in finding.what for finding in lint(file))


def test_large_arguments_of_an_activation_are_refused() -> None:
    for text in ("nn.PReLU(1000000000000)", "nn.Softmax(dim='x')", "nn.MultiheadAttention(4096, 1)", "nn.ReLU(10**9)"):
        with pytest.raises(HostError):
            untrusted.check_activation(text)
