"""The same seed on the same machine gives the same numbers: training, study, screening and report, each made twice."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from test_cli_screen import HOST

from yolograft import YOLO
from yolograft.cli import main
from yolograft.report import write
from yolograft.study import Study, run, status

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]  # Ultralytics' own warnings
FAST = {"epochs": 2, "imgsz": 32, "batch": 4, "workers": 0, "plots": False, "device": "cpu", "verbose": False}


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny-host.yaml").write_text(HOST)
    return "tiny-host.yaml"


def tensors(file):
    return torch.load(file, map_location="cpu", weights_only=False)["model"].state_dict()


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("speed", ["stock", pytest.param("float32", marks=pytest.mark.slow)])
def test_two_trainings_give_equal_bits_and_another_seed_gives_others(host, tiny_set, tmp_path, speed):
    def train(name, seed):
        YOLO(host).train(data=str(tiny_set), graft="se@2", seed=seed, project=str(tmp_path), name=name, speed=speed, **FAST)
        return tensors(tmp_path / name / "weights" / "last.pt")

    first = train("a", 3)
    assert same(train("b", 3), first)
    assert not same(train("c", 4), first)


def test_two_screenings_give_equal_tables(host, tiny_set, tmp_path):
    found = []
    for name in ("a", "b"):
        words = ["screen", f"model={host}", "block=se", f"data={tiny_set}", "epochs=1", "imgsz=32", "batch=4", "device=cpu",
                 f"project={tmp_path}", f"name={name}", "images=4", "close_mosaic=0"]
        assert main(words) == 0
        found.append((tmp_path / name / "screen.json").read_text())
    assert json.loads(found[0])["values"]
    assert found[0] == found[1]


def test_two_studies_give_equal_tables_and_reports(tmp_path):
    words = {"data": "somewhere", "model": "yolo11n.pt", "epochs": 2, "host": "yolograft.study.dummy", "seeds": 6,
             "arms": "none; se@8 effect=0.05; aa"}
    found = []
    for name in ("a", "b"):
        folder = tmp_path / name / "s"
        study = run(words, folder, workers=2)
        write(study, folder / "report", languages=["en"])
        pages = {path.relative_to(folder): path.read_bytes().replace(str(folder).encode(), b"FOLDER")
                 for path in (folder / "report").rglob("*") if path.is_file()}
        # the page's total time is measured, and the study's folder is another one
        pages = {path: re.sub(rb"<dt>Total time</dt><dd>.*?</dd>", b"", page) for path, page in pages.items()}
        found.append((study.scores(), study.verdicts(), status(folder).replace(str(folder), "FOLDER"), pages))
    assert found[0][:3] == found[1][:3]
    different = [str(path) for path in found[0][3] if found[0][3][path] != found[1][3][path]]
    assert found[0][3].keys() == found[1][3].keys()
    assert not different


@pytest.mark.slow
def test_two_studies_of_real_trainings_give_equal_bits(host, tiny_set, tmp_path):
    words = {"data": str(tiny_set), "model": str(tmp_path / host), "arms": "none; se@2", "seeds": 1, **FAST}
    one, two = (run(words, tmp_path / name / "s") for name in ("a", "b"))
    assert one.scores() == two.scores()
    for key in (row.key for row in one.rows):
        folders = [Study.load(tmp_path / name / "s").folder_of(key) for name in ("a", "b")]
        assert same(*(tensors(folder / "best.pt") for folder in folders))
        records = [np.load(folder / "images.npz") for folder in folders]
        assert all(np.array_equal(records[0][name], records[1][name]) for name in records[0].files)
