"""Files of a stranger: every command refuses them in one line, runs nothing from them, and ends soon with little memory."""

import ast
import re
from pathlib import Path

import hostile_files
import hostile_worker
import pytest
from hostile_files import FILES
from hostile_worker import COMMANDS

SOURCE = Path(__file__).parents[1] / "src" / "yolograft"
# Commands that open no file of a stranger; every other command is in COMMANDS with a kind of file.
WITHOUT_FILES = {"blocks", "modules", "demo", "completion"}
# In an arm of a study, the number of classes is that of the data, whatever `nc` says.
OTHER_CLASSES = {"model: huge classes", "model: classes are text"}
# What reads a file in a way that can run code, or evaluates text: (our file, call) -> why it is safe. Nothing else may.
DANGEROUS = ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "yaml.safe_load", "pickle.load",
             "pickle.loads", "pickle.Unpickler", "torch.load", "torch.jit.load", "np.load", "numpy.load", "eval", "exec",
             "compile", "__import__", "import_module", "importlib.import_module", "joblib.load", "shelve.open",
             "marshal.loads", "os.system")
SAFE = {
    ("yaml_text.py", "yaml.load"): "the safe loader, after the limits; everything else reads YAML through this function",
    ("testing.py", "pickle.loads"): "of what the line itself has pickled",
    ("runner/trainer.py", "torch.load"): "a study's state, after the check of `pickle_check`",
    ("host/label_cache.py", "pickle.Unpickler"): "a subclass that reads arrays and plain values alone",
    ("analysis/runtimes.py", "torch.jit.load"): "a file that the same command has just exported",
    ("analysis/targets.py", "torch.jit.load"): "a file that the same command has just exported",
    ("report/pictures.py", "np.load"): "without allow_pickle",
    ("analysis/average_precision.py", "np.load"): "without allow_pickle",
    ("analysis/screen.py", "np.load"): "without allow_pickle",
    ("analysis/deploy_worker.py", "np.load"): "without allow_pickle",
    ("study/images.py", "np.load"): "without allow_pickle",
    ("runner/data_warnings.py", "np.load"): "without allow_pickle",
    ("host/unasked.py", "import_module"): "modules of Ultralytics and its exporters, by their names in the code",
    ("__init__.py", "import_module"): "our own module names, in a table",
    ("report/__init__.py", "import_module"): "our own module name",
    ("study/__init__.py", "import_module"): "our own module names, in a table",
    ("blocks/__init__.py", "import_module"): "the files of our own folder",
    ("blocks/_stock.py", "import_module"): "a module of Ultralytics, by its name in the code",
    ("modules/__init__.py", "import_module"): "the files of our own folder",
    ("modules/dysample.py", "import_module"): "modules of PyTorch, by their names in the code",
    ("upstream.py", "import_module"): "modules of our own list",
    ("study/trial.py", "import_module"): "a host of the table, or one that an installed package registers",
    ("blocks/plugin.py", "importlib.import_module"): "a module that an installed package registers, or a file of the user",
    ("host/pickle_check.py", "import_module"): "modules of the installed packages in _LAYERS",
    ("host/checkpoint_guard.py", "import_module"): "installed packages of a list, and modules that are imported already",
}


def test_every_dangerous_call_has_a_reason() -> None:
    found = set()
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else \
                ast.unparse(node) if isinstance(node, ast.Attribute) and node.attr.endswith("Unpickler") else ""
            name = name.replace("pickle._Unpickler", "pickle.Unpickler")
            if name in DANGEROUS:
                found.add((str(file.relative_to(SOURCE)), name))
            if isinstance(node, ast.Call):
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert given.get("allow_pickle", "False") == "False", f"{file}:{node.lineno}"
    assert found == SAFE.keys()


def test_the_corpus_is_large_and_of_every_kind() -> None:
    assert len(FILES) >= 250
    assert {one.kind for one in FILES.values()} == COMMANDS.keys()


def test_every_command_that_opens_a_file_is_tried() -> None:
    from yolograft.cli import COMMANDS as known
    from yolograft.cli.modes import MODES

    tried = {words[0] for commands in COMMANDS.values() for words in commands}
    assert tried | WITHOUT_FILES == {*known, *MODES}


def run(jobs: list[tuple[str, tuple[str, ...]]]) -> None:
    wrong = [f"{name} | {' '.join(words)} | {what}" for name, words, outcome in hostile_worker.run(jobs)
             if (what := hostile_worker.problem(FILES[name], outcome, words == COMMANDS[FILES[name].kind][0]))]
    assert not wrong, "\n".join(wrong)


def test_the_first_command_of_each_kind_refuses_every_file() -> None:
    run([(name, COMMANDS[one.kind][0]) for name, one in FILES.items()])


def test_an_image_that_opencv_refuses_is_named() -> None:
    predict = ("predict", "model={host}", "source={file}", "imgsz=32")
    assert predict in COMMANDS["image"]
    large = [name for name, one in FILES.items() if one.kind == "image" and ("60,000" in name or "2**30" in name)]
    assert len(large) == 3
    for name, _, outcome in hostile_worker.run([(name, predict) for name in large]):
        assert hostile_worker.problem(FILES[name], outcome, False) == ""
        assert "is larger than OpenCV reads" in outcome.error
        assert re.search(r"\.(png|bmp|tiff?)\. Remove", outcome.error), outcome.error


@pytest.mark.parametrize("words", [("lint", "{file}"), ("yaml", "model={file}", "graft=se@1")], ids=lambda one: one[0])
def test_what_cannot_be_built_is_refused_without_a_build_command(words: tuple[str, ...]) -> None:
    assert words in COMMANDS["model"]
    run([(f"model: {name}", words) for name in ("huge channels twice", "huge classes", "graft is huge", "argument is a name",
                                                "an attention row with huge settings")])


def test_data_of_a_deploy_check_is_refused_before_the_exports() -> None:
    words = ("deploy-check", "model={golden}", "data={file}")
    assert words in COMMANDS["data"]
    run([(name, words) for name in ("data: only a number", "data: path has a NUL", "data: nc is huge", "data: deep flow")])


def test_the_guard_notices_what_a_file_runs() -> None:
    """The test above can fail: without our check, the payload of a file runs and is noticed."""
    name = "checkpoint: os.system"
    outcome = next(hostile_worker.run([(name, ("show", "model={file}", "trust=True"))]))[2]
    assert "the payload" in outcome.ran
    assert hostile_worker.problem(FILES[name], outcome).startswith(("crash", "it ran"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMMANDS)
def test_every_command_refuses_every_file(kind: str) -> None:
    run([(name, words) for name, one in FILES.items() if one.kind == kind for words in COMMANDS[kind]
         if not (name in OTHER_CLASSES and "arms={file}" in words)])


def test_payloads_do_not_run_when_files_are_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("checkpoint: os.system", "data: python object", "labels: a cache that calls"):
        FILES[name].make(tmp_path)
    assert not (tmp_path / hostile_files.MARK).exists()
