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
python -m pytest -n 0 tests/test_faults_study.py tests/test_faults_files.py tests/test_faults_train.py   # -m slow: the rest
```

A full disk is injected: every write (a file that is opened, a flush, a rename, a new folder) fails in turn, with ENOSPC.
Files of results are written beside their target and renamed, so a reader sees the old file or the whole new one. Nothing
is overwritten silently: a damaged file stays where it is, or is kept as `NAME.damaged`.
""", """# 可能出错之处，以及哪些内容会保留

[English](reliability.md)

本页由 `python docs/make_reliability.py` 根据 `tests/faults.py` 中的表格生成，请勿手工编辑。每一行的测试都会制造该故障，并检查该行的说明：

```bash
python -m pytest -n 0 tests/test_faults_study.py tests/test_faults_files.py tests/test_faults_train.py   # -m slow：其余测试
```

“磁盘已满”是注入的：每一次写入（打开文件、刷新到磁盘、重命名、新建文件夹）依次以 ENOSPC 失败。结果文件先写在目标旁边再重命名，
因此读取者看到的是旧文件或完整的新文件。不会静默覆盖任何内容：损坏的文件原样保留，或保留为 `NAME.damaged`。
""")

COLUMNS = ("| fault | what you see | what survives | how to go on | tests |\n|---|---|---|---|---|\n",
           "| 故障 | 用户看到什么 | 保留什么 | 如何继续 | 测试 |\n|---|---|---|---|---|\n")

REPEAT = ("""
## Numbers that repeat

The same seed on the same machine with the same versions gives the same numbers: weights bit for bit, the tables of a study
or a screening, and the bytes of a report (it contains no date; only its total time and its folder can differ). `tests/test_repeat.py`, `tests/test_runner_train.py` and
`tests/test_report_page.py` check this on a CPU. Some operations are exceptions:

| operation | why it differs | the other choice |
|---|---|---|
| backward pass of `upsample` (neck), `scatter` and `index_add` on CUDA | atomic additions in any order; Ultralytics sets `deterministic=True` with `warn_only`, so they are used with a warning | train on the CPU, or compare means over seeds, as a study does |
| `speed=auto` (default of `train`) | it measures which way is faster, so a busy machine can choose another one | `speed=stock`, or a fixed mode; a study uses `speed=stock`, and a resumed trial keeps its choice |
| `speed=` modes on a GPU, bfloat16 and float32 kernels on a CPU | other orders of additions than stock PyTorch; each repeats its own numbers on a CPU | `speed=stock` for the numbers of Ultralytics |
| another number of CPU threads (`OMP_NUM_THREADS`, `YOLOGRAFT_THREADS`) | sums are split differently | set the same number; a resumed trial keeps it |
| another GPU model, driver, PyTorch or Ultralytics | other kernels | a study records them, and refuses other versions |
| `workers=` of the data loader outside of studies, Ultralytics up to about 8.4.139 | its workers do not use the seed | `workers=0`, or a study |
| batch size found by `batch=-1` | it measures free memory | a fixed `batch=` |
| latency and training time | they are measurements | the medians and intervals of `bench` |

## Files that are not written through `atomic_write`

`tests/test_atomic_law.py` reads the source and fails if another function writes a file directly.

| function | reason |
|---|---|
""", """
## 可重复的数值

同一台机器、同一版本、同一种子给出相同的数值：权重逐位相同，研究和筛选的表格相同，报告的字节相同（其中没有日期；只有总时间和文件夹可能不同）。
`tests/test_repeat.py`、`tests/test_runner_train.py` 和 `tests/test_report_page.py` 在 CPU 上检查这一点。以下操作例外：

| 操作 | 为何不同 | 另一种选择 |
|---|---|---|
| CUDA 上 `upsample`（颈部）、`scatter` 和 `index_add` 的反向传播 | 原子加法的顺序任意；Ultralytics 以 `warn_only` 设置 `deterministic=True`，因此仍会使用并给出警告 | 在 CPU 上训练，或像研究那样比较多个种子的均值 |
| `speed=auto`（`train` 的默认值） | 它测量哪种方式更快，因此繁忙的机器可能选择另一种 | `speed=stock` 或固定模式；研究使用 `speed=stock`，恢复的运行保持原来的选择 |
| GPU 上的 `speed=` 模式，CPU 上的 bfloat16 和 float32 内核 | 加法顺序与原版 PyTorch 不同；在 CPU 上各自可重复 | 需要 Ultralytics 的数值时用 `speed=stock` |
| CPU 线程数不同（`OMP_NUM_THREADS`、`YOLOGRAFT_THREADS`） | 求和的划分不同 | 设置相同的数目；恢复的运行保持不变 |
| GPU 型号、驱动、PyTorch 或 Ultralytics 不同 | 内核不同 | 研究会记录它们，并拒绝其他版本 |
| 研究之外数据加载器的 `workers=`，Ultralytics 约 8.4.139 及之前 | 其工作进程不使用种子 | `workers=0`，或使用研究 |
| 由 `batch=-1` 找到的批量大小 | 它测量空闲内存 | 固定的 `batch=` |
| 延迟和训练时间 | 它们是测量值 | `bench` 的中位数和区间 |

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
    return HEAD[at] + "".join(tables) + REPEAT[at] + files


if __name__ == "__main__":
    for number, file in enumerate(FILES):
        file.write_text(page(number), encoding="utf-8")
