"""Write docs/reliability.md and its Chinese version from the tests' table of faults: python docs/make_reliability.py"""

# ruff: noqa: E501  # rows of tables

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from faults import AREAS, EXCEPTIONS, FAULTS, Fault

FILES = (Path(__file__).with_name("reliability.md"), Path(__file__).with_name("reliability.zh-CN.md"))

HEAD = ("""# What can go wrong, and what survives

[中文](reliability.zh-CN.md)

`python docs/make_reliability.py` writes this page from the table in `tests/faults.py`. Do not edit it by hand. The tests of
each row cause the fault and check what the row says:

```bash
python -m pytest -n 0 tests/test_faults_study.py tests/test_faults_writes.py tests/test_faults_train.py   # -m slow: the rest
```

A full disk is injected: every write (a file that is opened, a flush, a rename, a new folder) fails in turn, with ENOSPC.
Files of results are written beside their target and renamed, so a reader sees the old file or the whole new one. Nothing
is overwritten silently: a damaged file stays where it is, or is kept as `NAME.damaged`.
""", """# 可能出错之处，以及哪些内容会保留

[English](reliability.md)

本页由 `python docs/make_reliability.py` 根据 `tests/faults.py` 中的表格生成，请勿手工编辑。每一行的测试都会制造该故障，并检查该行的说明：

```bash
python -m pytest -n 0 tests/test_faults_study.py tests/test_faults_writes.py tests/test_faults_train.py   # -m slow：其余测试
```

“磁盘已满”是注入的：每一次写入（打开文件、刷新到磁盘、重命名、新建文件夹）依次以 ENOSPC 失败。结果文件先写在目标旁边再重命名，
因此读取者看到的是旧文件或完整的新文件。不会静默覆盖任何内容：损坏的文件原样保留，或保留为 `NAME.damaged`。
""")

COLUMNS = ("| fault | what you see | what survives | how to go on | tests |\n|---|---|---|---|---|\n",
           "| 故障 | 用户看到什么 | 保留什么 | 如何继续 | 测试 |\n|---|---|---|---|---|\n")

REST = ("""
## Numbers that repeat

The same seed on the same machine gives the same numbers: [repeatable.md](repeatable.md) says what is tested, and which
operations are exceptions. What connects to the network is in [connections.md](connections.md).

## Files that are not written through `atomic_write`

`tests/test_atomic_law.py` reads the source and fails if another function writes a file directly.

| function | reason |
|---|---|
""", """
## 可重复的数值

同一台机器、同一种子给出相同的数值：[repeatable.zh-CN.md](repeatable.zh-CN.md) 说明测试了什么，以及哪些操作例外。哪些操作会连接网络见
[connections.zh-CN.md](connections.zh-CN.md)。

## 不通过 `atomic_write` 写入的文件

`tests/test_atomic_law.py` 读取源代码；如果有其他函数直接写文件，测试失败。

| 函数 | 原因 |
|---|---|
""")


def row(fault: Fault, at: int) -> str:
    """Return one line of a table, in English (0) or Chinese (1)."""
    files = dict.fromkeys(test.partition("::")[0] for test in fault.tests)
    tests = "<br>".join(f"`{file}` ({sum(test.startswith(file) for test in fault.tests)})" for file in files)
    return f"| {fault.name[at]} | {fault.sees[at]} | {fault.survives[at]} | {fault.resume[at]} | {tests} |\n"


def page(at: int) -> str:
    """Return the page in English (0) or Chinese (1)."""
    tables = [f"\n## {titles[at]}\n\n{COLUMNS[at]}" + "".join(row(one, at) for one in FAULTS if one.area == area)
              for area, titles in AREAS.items()]
    files = "".join(f"| `{one.file}`: `{one.function}` | {one.why[at]} |\n" for one in EXCEPTIONS)
    return HEAD[at] + "".join(tables) + REST[at] + files


if __name__ == "__main__":
    for number, file in enumerate(FILES):
        file.write_text(page(number), encoding="utf-8")
