"""The log of Ultralytics goes on when the reader of a pipe ends."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from ultralytics.utils import LOGGER
from yolograft.host.log import go_on_without_reader
if sys.argv[1] == "go on":
    go_on_without_reader()
    go_on_without_reader()  # a second command in one process
for number in range(20000):
    LOGGER.info(f"line {number}")
print("end", file=sys.stderr)
"""


@pytest.mark.parametrize(("choice", "tracebacks"), [("go on", False), ("stock", True)])
def test_a_closed_pipe_gives_no_tracebacks(choice: str, tracebacks: bool) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, choice], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    errors = process.stderr.read()
    process.wait()
    assert ("Traceback" in errors) == tracebacks
    assert "end" in errors
