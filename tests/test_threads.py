import os
import subprocess
import sys

import pytest

CODE = {
    "yolograft first, no /proc": ("import pathlib, os; pathlib.Path.read_bytes = lambda path: os.stat('/nowhere')\n"
                                  "import yolograft, ultralytics; from yolograft.threads import share; print(share(1))"),
    "ultralytics first": "import ultralytics; from yolograft.threads import share; print(share(1))",
    "yolograft alone": "from yolograft.threads import share; print(share(1))",
    "set in Python": ("import os, yolograft; os.environ['OMP_NUM_THREADS'] = '1'; "
                      "from yolograft.threads import share; print(share(1))"),
}


def threads_in(code, value, folder):
    """Run code in a process in which `ultralytics` always sets the variable, as 8.3.0 does."""
    (folder / "ultralytics.py").write_text("import os\nos.environ['OMP_NUM_THREADS'] = '1'\n")
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    environment |= {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}
    environment |= {"OMP_NUM_THREADS": value} if value is not None else {}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.fixture
def cpus():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@pytest.mark.parametrize("order", ["yolograft first, no /proc", "yolograft alone", pytest.param(
    "ultralytics first", marks=pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="needs /proc"))])
def test_a_value_of_the_user_is_distinguished_from_that_of_ultralytics(tmp_path, cpus, order):
    assert threads_in(CODE[order], None, tmp_path) == cpus
    assert threads_in(CODE[order], "3", tmp_path) == 3
    assert threads_in(CODE[order], "1", tmp_path) == 1
    assert threads_in(CODE[order], "4,2", tmp_path) == 4
    assert threads_in(CODE[order], "many", tmp_path) == cpus


def test_a_value_set_in_python_before_the_import_of_ultralytics_is_used(tmp_path):
    assert threads_in(CODE["set in Python"], None, tmp_path) == 1


def test_threads_on_a_system_without_affinity(monkeypatch):
    from yolograft.threads import share

    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [share(processes) for processes in (1, 3, 9)] == [8, 2, 1]
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert share(1) == 1


def test_the_share_of_a_study_has_priority(monkeypatch):
    from yolograft.errors import HostError
    from yolograft.threads import share

    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.setenv("YOLOGRAFT_THREADS", "3")
    assert share(1) == 3
    monkeypatch.setenv("YOLOGRAFT_THREADS", "1")
    assert share(1) == 1
    monkeypatch.setenv("YOLOGRAFT_THREADS", "many")
    with pytest.raises(HostError, match="YOLOGRAFT_THREADS=many is not a positive whole number"):
        share(1)
    monkeypatch.delenv("YOLOGRAFT_THREADS")
    assert share(1) == 5
