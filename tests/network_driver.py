"""Run commands of yolograft in one process, each a list of words in the JSON list on standard input.

Prints, for each command, a line of JSON with its words, its exit code, the end of what it said on standard error, and the
connections and installers that it tried.
"""

import contextlib
import io
import json
import os
import sys
from pathlib import Path

from yolograft.cli import main

record = Path(os.environ["GUARD_RECORD"])
for words in json.load(sys.stdin):
    before = len(record.read_text(encoding="utf-8").splitlines())
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            code = main(words)
    except Exception as error:
        code = f"{type(error).__name__}: {error}"
    tried = record.read_text(encoding="utf-8").splitlines()[before:]
    result = {"words": words, "code": code, "said": said.getvalue()[-400:], "tried": tried}
    print(f"\nRESULT {json.dumps(result)}", flush=True)
