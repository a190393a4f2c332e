"""The layer table and the summary show the blocks at their places, with one count of loaded tensors."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import ultralytics
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import LOGGER

from yolograft import YOLO
from yolograft.attach import grafts
from yolograft.host import layer_table, models
from yolograft.host.log import warn
from yolograft.host.trainer import grafted_trainer

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
TABLE_HEAD = re.compile(r"\s*from\s+n\s+params\s+module\s+arguments\s*")
BLOCK_LINE = re.compile(r"  \+(?P<place>.{20})(?P<n>[ \d]{3})(?P<params>[ \d]{10})  (?P<module>\S+)\s+"
                        r"\[(?P<arguments>.*)\]\s*")


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += record.getMessage().split("\n")


@pytest.fixture
def log() -> Iterator[list[str]]:
    handler = Lines()
    LOGGER.addHandler(handler)
    yield handler.lines
    LOGGER.removeHandler(handler)


def build(model: str, graft: str, data: Path, folder: Path) -> DetectionModel:
    trainer = grafted_trainer(DetectionTrainer)(overrides={
        "model": model, "data": str(data), "graft": graft, "project": str(folder), "imgsz": 32, "speed": "stock"})
    trainer.setup_model()
    return trainer.model


def table(log: list[str]) -> list[str]:
    (start,) = [number for number, line in enumerate(log) if TABLE_HEAD.fullmatch(line)]
    lines = log[start + 1:]
    return lines[:next(number for number, line in enumerate(lines) if "summary" in line)]


@pytest.mark.parametrize(("graft", "expected"), [
    ("se@8", [("8", 1, "8", "SE", "[256]", "after 8")]),
    ("se(ratio=8)@p3,p5", [("16>23", 1, "", "SE", "[64, ratio=8]", "before 23"),
                           ("22>23", 1, "", "SE", "[256, ratio=8]", "")]),
    ("eca@Bottleneck.cv2", [("2.m.0.cv2", 1, "", "ECA", "[16]", "after 2"),
                            ("6.m.0.m.0.cv2, ...", 2, "", "ECA", "[32]", "")]),
    ("se@9/pre + cbam@9", [("9/pre", 1, "", "SE", "[256]", "before 9"), ("9", 1, "", "CBAM", "[256]", "after 9")]),
    ("se@2.m.0/skip", [("2.m.0/skip", 1, "", "SE", "[16]", "after 2")]),
])
def test_each_block_has_its_line_at_its_place(
    graft: str, expected: list[tuple[str, int, str, str, str, str]], log: list[str], tiny_set: Path, tmp_path: Path
) -> None:
    model = build("yolo11n.yaml", graft, tiny_set, tmp_path)
    lines = table(log)
    found = {match["place"].strip(): (number, match) for number, line in enumerate(lines)
             if (match := BLOCK_LINE.fullmatch(line))}
    for place, count, _, kind, arguments, where in expected:
        number, match = found[place]
        assert (int(match["n"]), match["module"].rpartition(".")[2], f"[{match['arguments']}]") == (count, kind, arguments)
        side, _, row = where.partition(" ")
        neighbours = lines[number::-1] if side == "after" else lines[number:]
        assert not row or next(line for line in neighbours if not BLOCK_LINE.fullmatch(line)).split()[0] == row
    assert sum(int(match["n"]) for _, match in found.values()) == len(grafts(model))
    assert sum(int(match["params"]) for _, match in found.values()) == sum(
        value.numel() for block in grafts(model).values() for value in block.parameters())


def test_the_stock_lines_do_not_change(log: list[str], tiny_set: Path, tmp_path: Path) -> None:
    build("yolo11n.yaml", "none", tiny_set, tmp_path / "a")
    bare = table(log)
    log.clear()
    build("yolo11n.yaml", "se@8 + eca@p3 + cbam@Bottleneck.cv2", tiny_set, tmp_path / "b")
    assert [line for line in table(log) if not BLOCK_LINE.fullmatch(line)] == bare
    assert len(bare) == 24


def test_the_summary_counts_the_blocks_and_names_the_graft(log: list[str], tiny_set: Path, tmp_path: Path) -> None:
    model = build("yolo11n.yaml", "se@8", tiny_set, tmp_path)
    parameters = sum(value.numel() for value in model.parameters())
    summaries = [line for line in log if line.startswith("YOLO11n summary")]
    assert len(summaries) == 1
    assert f"{parameters:,} parameters" in summaries[0]
    assert "yolograft: the model carries the graft se@8: 1 attention block, 8,464 parameters" in log


def test_there_is_one_count_of_loaded_tensors_and_it_adds_up(
    weights: Path, log: list[str], tiny_set: Path, tmp_path: Path
) -> None:
    model = YOLO(weights, graft="se@8 + se@9")
    assert not [line for line in log if re.search(r"\d+ (of|/) ?\d+", line)], "a count before the training"
    model.add_callback("on_pretrain_routine_start", lambda trainer: None)
    trainer = grafted_trainer(DetectionTrainer)(overrides={
        "model": str(weights), "data": str(tiny_set), "graft": "se@8 + se@9", "project": str(tmp_path), "speed": "stock"})
    trainer.setup_model()
    (line,) = [line for line in log if "Transferred" in line or "tensors" in line]
    loaded, total, new, other = map(int, re.findall(r"\d+", line)[:4])
    assert total == len(trainer.model.state_dict())
    assert new == 8
    assert loaded + new + other == total
    assert line.endswith("of another shape in the checkpoint: the head's class layers)")


def test_without_a_graft_the_count_is_that_of_ultralytics(
    weights: Path, log: list[str], tiny_set: Path, tmp_path: Path
) -> None:
    build(str(weights), "none", tiny_set, tmp_path)
    (line,) = [line for line in log if "Transferred" in line]
    assert line.endswith("/499 items from pretrained weights")


def test_validation_prediction_and_export_name_the_graft(
    log: list[str], tiny_set: Path, tmp_path: Path
) -> None:
    said = "yolograft: the model carries the graft se@8: 1 attention block, 8,464 parameters"
    YOLO("yolo11n.yaml", graft="se@8").save(tmp_path / "a.pt")
    image = str(tiny_set.parent / "images" / "val" / "0.png")
    for cls in (YOLO, ultralytics.YOLO):
        log.clear()
        cls(tmp_path / "a.pt").val(data=str(tiny_set), imgsz=32, workers=0, plots=False, project=str(tmp_path), name="v")
        assert log.count(said) == 1
        log.clear()
        cls(tmp_path / "a.pt").export(format="torchscript", imgsz=32)
        assert log.count(said) == 1
    model = YOLO(tmp_path / "a.pt")
    log.clear()
    for _ in range(3):
        model.predict(image, imgsz=32)
    assert log.count(said) == 1, "once for each model, not for each image"
    log.clear()
    YOLO(tmp_path / "a.pt").predict(image, imgsz=32, verbose=False)
    assert said not in log


def test_a_failed_build_prints_what_was_held_back(log: list[str]) -> None:
    def fail() -> None:
        with layer_table.show_blocks():
            LOGGER.info("before the error")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert log == ["before the error"]
    LOGGER.info("after")
    assert log[-1] == "after"


def test_a_model_from_a_yaml_file_shows_its_blocks(log: list[str]) -> None:
    YOLO("yolo11n-se.yaml", verbose=True)
    assert len([line for line in table(log) if BLOCK_LINE.fullmatch(line)]) == 1
    assert models.read_graft(YOLO("yolo11n-se.yaml").model.yaml)


def test_a_warning_has_the_word_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    handler = LOGGER.handlers[0]
    shown: list[str] = []
    monkeypatch.setattr(handler, "emit", lambda record: shown.append(handler.format(record)))
    warn("the text")
    assert re.fullmatch(r"WARNING (\S+ )?yolograft: the text", shown[0])
