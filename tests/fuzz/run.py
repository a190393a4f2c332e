"""Fuzz one target with atheris (libFuzzer): `python tests/fuzz/run.py TARGET [runs=100000] [options of libFuzzer]`.

libFuzzer prefers inputs that reach new lines of the package. An input that crashes, takes more than five seconds or more
than 3 GB stops the run, and is written to the current folder. One that takes more than a second is reported.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("YOLO_OFFLINE", "True")
os.environ["YOLOGRAFT_LANG"] = "en"
import numpy  # noqa: F401  # before the instrumentation, which would slow these packages down
import torch  # noqa: F401
import ultralytics.nn.tasks  # noqa: F401

with atheris.instrument_imports(include=["yolograft", "xml.etree", "yaml"]):
    import targets

_OUT = io.StringIO()


def main() -> None:
    """Run the target that the first argument names."""
    name, *options = sys.argv[1:]
    runs = next((option[5:] for option in options if option.startswith("runs=")), "100000")
    rest = [option for option in options if not option.startswith("runs=")]

    def one(data: bytes) -> None:
        with contextlib.redirect_stderr(_OUT):
            targets.check(name, data)
        if _OUT.tell() > 10**6:
            _OUT.seek(0)
            _OUT.truncate()

    with tempfile.TemporaryDirectory() as grown:  # what libFuzzer adds to the corpus
        dictionary = targets.CORPUS.parent / f"{name}.dict"
        atheris.Setup([sys.argv[0], grown, str(targets.CORPUS / name), f"-runs={runs}", "-timeout=5", "-report_slow_units=1",
                       "-rss_limit_mb=3000", "-max_len=4096", "-print_final_stats=1",
                       *([f"-dict={dictionary}"] if dictionary.is_file() else []), *rest], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
