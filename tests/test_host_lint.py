"""The linter names what a hand edit broke, with a mend that mends it, and says nothing of sound files."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ultralytics.nn.tasks import yaml_model_load

from yolograft.cli import main
from yolograft.errors import HostError
from yolograft.host import lint as linting
from yolograft.host import rows
from yolograft.host.lint import lint

Edit = dict[str, Any]


@pytest.fixture(scope="module")
def stock() -> Edit:
    cfg = yaml_model_load("yolo11n.yaml")
    return {key: cfg[key] for key in ("nc", "scales", "backbone", "head")}


def saved(cfg: Edit, folder: Path, name: str = "yolo11n-mine.yaml") -> Path:
    (folder / name.replace("yolo11n", "yolo11")).write_text(yaml.safe_dump(cfg))
    return folder / name


def inserted(stock: Edit, row: list[Any], at: int = 9) -> Edit:
    """Insert a row and shift nothing, as a beginner does."""
    cfg = copy.deepcopy(stock)
    cfg["backbone"].insert(at, row)
    return cfg


@pytest.mark.parametrize("name", [name for name, _ in linting._shipped()])
def test_the_stock_files_are_sound(name: str) -> None:
    assert lint(name) == ()


@pytest.mark.parametrize("graft", ["se@8", "se(ratio=4)@backbone.2,4 + cbam@6", "eca@p3,p4,p5", "se@16>17", "se@10 + se@10",
                                   "simam@22", "se@C3k2"])
@pytest.mark.parametrize("base", ["yolo11n.yaml", "yolov8s.yaml", "yolov10n.yaml", "yolov5n.yaml"])
def test_correct_hand_edits_are_sound(base: str, graft: str, tmp_path: Path) -> None:
    if "C3k2" in graft and not base.startswith("yolo11"):
        graft = "se@4,6"
    if "22" in graft and not base.startswith("yolo11"):
        graft = "simam@12"
    if base.startswith("yolov5") and ("p3" in graft or ">" in graft):
        graft = "se@17>18"
    cfg = rows.write(yaml_model_load(base), graft)
    cfg.pop("yaml_file", None)
    (tmp_path / base).write_text(yaml.safe_dump(cfg))
    findings = lint(tmp_path / base)
    assert [one for one in findings if one.severity == "error"] == []
    assert not findings or ">" in graft, "a plain graft is sound; one that some readers do not see may be a slip"


def test_indices_that_were_not_shifted(stock: Edit, tmp_path: Path) -> None:
    findings = lint(saved(inserted(stock, [-1, 1, "SEAttention", []]), tmp_path))
    assert {one.row for one in findings if one.severity == "error"} == {19, 22, 24}
    concat = next(one for one in findings if one.row == 19 and "input" in one.what)
    assert concat.mend == "[[-1, 14], 1, Concat, [1]]"
    assert "inserted row above moved the numbers" in concat.why
    assert next(one for one in findings if one.row == 24).mend == "[[17, 20, 23], 1, Detect, [nc]]"


def test_the_mends_mend(stock: Edit, tmp_path: Path) -> None:
    cfg = inserted(inserted(stock, [-1, 1, "SE", [1024]]), [-1, 1, "CBAM", []], at=5)
    path = saved(cfg, tmp_path)
    for _ in range(12):
        if not (findings := lint(path)):
            break
        one = findings[0]
        assert one.row is not None
        part, at = ("backbone", one.row) if one.row < len(cfg["backbone"]) else ("head", one.row - len(cfg["backbone"]))
        cfg[part][at] = yaml.safe_load(one.mend.removeprefix("if that is not meant: "))
        saved(cfg, tmp_path)
    assert lint(path) == ()
    reading = rows.read(yaml_model_load(path))
    assert [reading.host[part] for part in ("backbone", "head")] == [stock[part] for part in ("backbone", "head")]
    assert str(reading.graft) == "cbam@4 + se@8"


def test_a_head_that_skips_the_attention_before_it_may_be_meant(stock: Edit, tmp_path: Path) -> None:
    cfg = rows.write({**stock, "scale": "n"}, "se@16")
    cfg.pop("scale")
    assert lint(saved(cfg, tmp_path)) == ()
    cfg["head"][-1][0] = [16, 20, 23]
    (one,) = lint(saved(cfg, tmp_path))
    assert (one.severity, one.what) == ("warning", "reads row 16 before the attention on it")
    assert one.mend.endswith("[[17, 20, 23], 1, Detect, [nc]]")


@pytest.mark.parametrize(
    ("part", "at", "row", "what", "mend"),
    [
        ("head", 1, [[-1, 60], 1, "Concat", [1]], "reads 60, which is no earlier row", "[[-1, 6], 1, Concat, [1]]"),
        ("head", 1, [[-1, 12], 1, "Concat", [1]], "reads 12, which is itself", "[[-1, 6], 1, Concat, [1]]"),
        ("head", 1, [[-1, 4], 1, "Concat", [1]], "joins maps of different sizes", "[[-1, 6], 1, Concat, [1]]"),
        ("head", 12, [[16, 16, 22], 1, "Detect", ["nc"]], "reads one stride twice", "[[16, 19, 22], 1, Detect, [nc]]"),
        ("head", 12, [[15, 19, 22], 1, "Detect", ["nc"]], "reads row 15 as its input 1", "[[16, 19, 22], 1, Detect, [nc]]"),
        ("backbone", 8, [-1, 2, "C3k3", [1024, True]], "names the module 'C3k3'", "correct the name"),
        ("backbone", 8, [-1, 2, "C3k2"], "is no row that can be read", "[from, repeats, module, args]"),
        ("backbone", 8, ["six", 2, "C3k2", []], "is no row that can be read", "[from, repeats, module, args]"),
    ],
)
def test_what_is_broken_is_named_with_its_mend(
    stock: Edit, tmp_path: Path, part: str, at: int, row: list[Any], what: str, mend: str
) -> None:
    cfg = copy.deepcopy(stock)
    cfg[part][at] = row
    findings = lint(saved(cfg, tmp_path))
    number = at + (len(stock["backbone"]) if part == "head" else 0)
    assert any(one.row == number and what in one.what and mend in one.mend for one in findings), findings


def test_channels_of_another_scale(stock: Edit, tmp_path: Path) -> None:
    cfg = rows.write({**stock, "scale": "n"}, "se@8")
    cfg.pop("scale")
    cfg["backbone"][9] = [-1, 1, "torchvision.ops.SqueezeExcitation", [1024, 64]]
    (one,) = lint(saved(cfg, tmp_path))
    assert (one.row, one.severity) == (9, "error")
    assert "has 256 at scale n" in one.why
    assert "[256, 16]" in one.mend
    cfg["backbone"][9] = [-1, 1, "SE", [777]]
    (one,) = lint(saved(cfg, tmp_path))
    assert (one.severity, one.what) == ("warning", "says 777 channels")
    for right in ([1024], [256], [1024, 16], [], [16]):  # the nominal width, the scale's, and habits without one
        cfg["backbone"][9] = [-1, 1, "SE", right]
        assert lint(saved(cfg, tmp_path)) == ()


def test_attention_that_nobody_reads_and_arguments_that_nothing_takes(stock: Edit, tmp_path: Path) -> None:
    cfg = rows.write({**stock, "scale": "n"}, "se@8")
    cfg.pop("scale")
    cfg["backbone"][10][0] = 8
    one, _ = lint(saved(cfg, tmp_path))
    assert (one.row, one.what) == (9, "is read by no row, so it does nothing")
    cfg["backbone"][10][0] = -1
    cfg["backbone"][9][3] = [{"ratoi": 4}]
    (one,) = lint(saved(cfg, tmp_path))
    assert "Did you mean 'ratio'" in one.why


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="does not exist"):
        lint(tmp_path / "nothing.yaml")
    contents = {"list.yaml": "- 1\n", "bad.yaml": "a: [1\n", "empty.yaml": "", "data.yaml": "names: [a]\n", "note.txt": "a"}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(HostError):
            lint(tmp_path / name)


def test_the_commands(stock: Edit, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = saved(inserted(stock, [-1, 1, "SE", []]), tmp_path)
    assert main(["lint", str(broken)]) == 1
    assert "mend: [[17, 20, 23], 1, Detect, [nc]]" in capsys.readouterr().out
    assert main(["lint", "yolo11n.yaml"]) == 0
    assert main(["lint"]) == 2
    assert main(["lint", str(tmp_path / "no.yaml")]) == 2
    written = tmp_path / "yolo11-mine2.yaml"
    assert main(["yaml", "model=yolo11n.yaml", "graft=se@8", f"to={written}"]) == 0
    assert main(["lint", str(written)]) == 0
    capsys.readouterr()
    assert main(["yaml", "model=yolo11n.yaml", "graft=se@9", f"to={written}"]) == 2
    assert "cannot be written: File exists" in capsys.readouterr().err
    assert main(["yaml", "model=yolo11n.yaml", "graft=se@Bottleneck.cv2"]) == 2
    assert main(["yaml", "model=yolo11n.yaml"]) == 2
    assert main(["yaml", "model=yolo11n.pt", "graft=se@8"]) == 2


def test_a_broken_file_is_warned_of_when_it_is_used(stock: Edit, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from yolograft.host import config

    path = saved(inserted(stock, [-1, 1, "SE", []]), tmp_path)
    with caplog.at_level("WARNING", logger="ultralytics"):
        config.model_config(path)
        assert "row 19 reads row 13" in caplog.text
        caplog.clear()
        config.model_config("yolo11n-se.yaml")
        assert "such errors" not in caplog.text
