"""The log of Ultralytics goes on when the reader of a pipe ends."""

import os
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
    reader, writer = os.pipe()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, choice], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    os.read(reader, 1)
    os.close(reader)
    errors = process.communicate()[1]
    assert ("Traceback" in errors) == tracebacks
    assert "end" in errors
