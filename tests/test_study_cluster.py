"""Trials on a local Ray cluster of several nodes, one of which is lost during the study."""

import os
import sys
import threading
import time

import pytest

from yolograft.errors import GraftError
from yolograft.study import Study, run
from yolograft.study.cluster import _pack, _run
from yolograft.study.trial import Failure, Result, Trial, write_json

WORDS = {"data": "somewhere", "model": "yolo11n.pt", "arms": "none; se@8", "seeds": 3, "epochs": 6, "pause": 0.4,
         "host": "yolograft.study.dummy"}


def trial(**settings):
    return Trial(arm="se@8", graft="se(ratio=16)@8", settings=settings, host="yolograft.study.dummy")


def test_a_task_writes_into_a_shared_folder_of_the_study(tmp_path):
    write_json(tmp_path / "trial.json", trial(epochs=2))
    outcome, files = _run(trial(epochs=2), str(tmp_path), 600)
    assert isinstance(outcome, Result)
    assert files == b""
    assert (tmp_path / "epochs.jsonl").read_text().count("\n") == 2


def test_a_task_sends_its_files_if_the_folder_is_not_shared(tmp_path):
    import io
    import zipfile

    outcome, files = _run(trial(epochs=2), str(tmp_path / "not here"), 600)
    assert isinstance(outcome, Result)
    names = zipfile.ZipFile(io.BytesIO(files)).namelist()
    assert {"result.json", "epochs.jsonl", "log.txt"} <= set(names)
    assert not {"lock", "state.pt"} & set(names)
    (tmp_path / "lock").write_text("")
    assert not zipfile.ZipFile(io.BytesIO(_pack(tmp_path))).namelist()


def test_a_trial_that_fails_on_a_node_reports_its_reason(tmp_path):
    outcome, _ = _run(trial(fail="crash"), str(tmp_path / "nowhere"), 600)
    assert isinstance(outcome, Failure)
    assert "SIGSEGV" in outcome.reason
    other = Trial(arm="none", host="yolograft.study.dummy", versions={"dummy": "7"})
    outcome, _ = _run(other, str(tmp_path / "nowhere"), 600)
    assert isinstance(outcome, Failure)
    assert "dummy 1 here, 7 in the study" in outcome.reason


def test_without_ray_the_error_tells_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(GraftError, match="pip install"):
        run(WORDS, tmp_path / "s", executor="ray")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own
def test_a_study_loses_nothing_when_a_node_is_lost(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster as RayCluster

    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    cluster = RayCluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    lost = []

    def lose_one():
        while not list((tmp_path / "s").glob("trials/*/epochs.jsonl")):
            time.sleep(0.1)
        time.sleep(0.7)
        cluster.remove_node(nodes[0], allow_graceful=False)
        lost.append(time.monotonic())

    thread = threading.Thread(target=lose_one)
    thread.start()
    try:
        study = run(WORDS, tmp_path / "s", executor="ray", address=cluster.address)
    finally:
        thread.join()
        cluster.shutdown()
    assert lost
    assert not study.failures()
    assert [len(scores) for scores in study.scores().values()] == [3, 3]
    assert study.scores() == run({**WORDS, "pause": 0}, tmp_path / "reference").scores()
    assert [path.read_text().count("\n") for path in (tmp_path / "s").glob("trials/*/finished")] == [1] * 6
    epochs = sum(path.read_text().count('"epoch"') for path in (tmp_path / "s").glob("trials/*/epochs.jsonl"))
    assert epochs <= 6 * 6 + 2, "a trial of the lost node resumes from its last epoch"
    assert Study.load(tmp_path / "s").scores() == study.scores()


def test_a_wrong_address_of_the_cluster_raises_an_error(tmp_path):
    pytest.importorskip("ray")
    with pytest.raises(GraftError, match="No Ray cluster answers"):
        run(WORDS, tmp_path / "s", executor="ray", address="127.0.0.1:1")
