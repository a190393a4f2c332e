"""Run commands of yolograft in one process, each a list of words in the JSON list on standard input.

Prints, for each command, a line of JSON with its words, its exit code, and the connections and installers that it tried.
"""

import json
import os
import sys
from pathlib import Path

from yolograft.cli import main

record = Path(os.environ["GUARD_RECORD"])
for words in json.load(sys.stdin):
    before = len(record.read_text(encoding="utf-8").splitlines())
    try:
        code = main(words)
    except Exception as error:
        code = f"{type(error).__name__}: {error}"
    tried = record.read_text(encoding="utf-8").splitlines()[before:]
    print(f"\nRESULT {json.dumps({'words': words, 'code': code, 'tried': tried})}", flush=True)
