"""The faults that yolograft is tested against: what the user sees, what survives, and how to go on.

`docs/make_reliability.py` writes docs/reliability.md and its Chinese version from this table, and
`tests/test_reliability.py` checks that the pages are up to date, that each test exists, and that the quoted messages are
messages of yolograft. `FailingDisk` injects the errors of a disk.
"""

# ruff: noqa: E501  # texts of a table, one cell a line

from __future__ import annotations

import builtins
import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolograft.patch import patched

__all__ = ["FAULTS", "FailingDisk", "Fault", "at_every_write"]

AREAS = {"study": ("Studies and screenings", "研究与筛选"), "train": ("Training", "训练"),
         "data": ("Conversion of data sets", "数据集转换"),
         "results": ("Reports, export and folding", "报告、导出与折叠"), "system": ("Machine and user", "机器与用户")}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        area: a key of `AREAS`.
        name, sees, survives, resume: what happens, what the user sees, what survives, how to go on; English and Chinese.
        tests: the tests that cause it, as `file::function`; slow ones included.
    """

    area: str
    name: tuple[str, str]
    sees: tuple[str, str]
    survives: tuple[str, str]
    resume: tuple[str, str]
    tests: tuple[str, ...]


class FailingDisk:
    """Counts the writes below a folder, and lets one of them fail.

    A write is: a file that is opened for writing, a flush to the disk, a rename, or a new folder.

    Args:
        folder: only writes below it count.
        at: the number of the write that fails, from 0; None lets none fail. `then` says whether all later ones fail too.
        number: the error, such as `errno.ENOSPC`.
    """

    def __init__(self, folder: Path, at: int | None = None, number: int = errno.ENOSPC, *, then: bool = False) -> None:
        self.folder, self.at, self.number, self.then = str(folder.resolve()), at, number, then
        self.count, self.failed = 0, False

    def check(self, path: Any) -> None:
        """Count a write of `path`; raises `OSError` if it is the one that fails."""
        if not isinstance(path, (str, Path)) or not os.path.abspath(path).startswith(self.folder):
            return
        number, self.count = self.count, self.count + 1
        if self.at is not None and (number == self.at or (self.then and number > self.at)):
            self.failed = True
            raise OSError(self.number, os.strerror(self.number), str(path))

    @contextmanager
    def injected(self) -> Iterator[FailingDisk]:
        """Context manager: the disk fails."""
        opened, fsync, replace, mkdir = builtins.open, os.fsync, os.replace, os.mkdir

        def open_(file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
            if set(mode) & set("wax+"):
                self.check(file)
            return opened(file, mode, *arguments, **more)

        def fsync_(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            link = Path(f"/proc/self/fd/{number}")
            self.check(os.readlink(link) if link.exists() else self.folder)
            fsync(descriptor)

        def replace_(source: Any, target: Any, **more: Any) -> None:
            self.check(target)
            replace(source, target, **more)

        def mkdir_(path: Any, *arguments: Any, **more: Any) -> None:
            if not os.path.isdir(path):  # an existing folder is no write
                self.check(path)
            mkdir(path, *arguments, **more)

        with patched((builtins, "open", open_), (io, "open", open_), (os, "fsync", fsync_), (os, "replace", replace_),
                     (os, "mkdir", mkdir_)):
            yield self


def at_every_write(folder: Path, act: Callable[[], Any], check: Callable[[BaseException], None], *,
                   number: int = errno.ENOSPC, prepare: Callable[[], Any] = lambda: None, every: int = 1) -> int:
    """Let each write of `act` below `folder` fail in turn, until one run makes all its writes; return the number of faults.

    Args:
        folder: only writes below it count.
        act: what writes.
        check: called with the exception of each run that failed.
        number: the error, such as `errno.ENOSPC`.
        prepare: called before each run.
        every: 3 lets only every third write fail, to save time.
    """
    assert threading.current_thread() is threading.main_thread()
    for at in range(0, 100_000, every):
        prepare()
        disk = FailingDisk(folder, at, number)
        try:
            with disk.injected():
                act()
        except BaseException as error:
            if not disk.failed:
                raise
            check(error)
        else:
            if not disk.failed:
                return at // every
    raise AssertionError("no end of the writes")


@dataclass(frozen=True, kw_only=True)
class Exemption:
    """A function that writes a file without `atomic_write`, and why (English and Chinese)."""

    file: str
    function: str
    why: tuple[str, str]


_DRAFT = ("It writes to a new folder, which takes the place of the old one when it is complete.",
          "写入新的文件夹；写完之后才替换旧文件夹。")
_TEMPORARY = ("A temporary file of one command, which is removed at its end.", "单个命令的临时文件，命令结束时删除。")
_MEMORY = ("It writes to memory, not to a file.", "写入内存，而不是文件。")
_LOG = ("A log grows line by line.", "日志逐行追加。")
_ATOMIC = ("It writes a file beside the target and renames it itself.", "自行在目标旁写文件，然后重命名。")

EXCEPTIONS: tuple[Exemption, ...] = (
    *(Exemption(file="analysis/deploy_check.py", function=name, why=_TEMPORARY) for name in ("check_networks",)),
    *(Exemption(file="analysis/deploy_process.py", function=name, why=_TEMPORARY) for name in ("run_worker", "_wait")),
    *(Exemption(file="analysis/deploy_worker.py", function=name, why=_TEMPORARY) for name in ("main", "_export")),
    Exemption(file="analysis/deploy_worker.py", function="__enter__", why=_LOG),
    *(Exemption(file="analysis/int8.py", function=name, why=_TEMPORARY) for name in ("check_int8", "main")),
    Exemption(file="analysis/validation.py", function="build_dataset", why=_TEMPORARY),
    Exemption(file="atomic.py", function="atomic_write", why=_ATOMIC),
    Exemption(file="data/conversion.py", function="_write", why=_DRAFT),
    Exemption(file="data/destination.py", function="replace_folder", why=_DRAFT),
    Exemption(file="data/destination.py", function="_restore", why=_DRAFT),
    Exemption(file="data/source.py", function="_unpack", why=_TEMPORARY),
    Exemption(file="data/steel.py", function="_write_files", why=_DRAFT),
    Exemption(file="fast/cpu/private_cache.py", function="keep_library", why=_ATOMIC),
    Exemption(file="report/style.py", function="_bytes", why=_MEMORY),
    Exemption(file="runner/model_yaml.py", function="read_config", why=_TEMPORARY),
    Exemption(file="study/cluster.py", function="poll", why=(
        "The files of a finished trial from another machine; the study records the trial after the last one.",
        "来自其他机器的已完成运行的文件；写完最后一个文件之后，研究才登记该运行。")),
    Exemption(file="study/cluster.py", function="_pack", why=_MEMORY),
    Exemption(file="study/dummy.py", function="train", why=_LOG),
    Exemption(file="study/local.py", function="launch", why=_LOG),
    Exemption(file="study/local.py", function="_end_stalled", why=_LOG),
    Exemption(file="study/merge.py", function="merge", why=_DRAFT),
    Exemption(file="study/merge.py", function="_write", why=_DRAFT),
    Exemption(file="study/worker.py", function="report", why=(
        "`epochs.jsonl` grows by one line after each epoch; an incomplete last line is skipped.",
        "`epochs.jsonl` 每个 epoch 追加一行；不完整的最后一行会被跳过。")),
)

_SAME = ("Run the same command again.", "重新运行同一命令。")
_RETRY = ("`retry=True` runs the failed trials again.", "`retry=True` 会重新运行失败的运行。")
_FINISHED = ("All finished trials; a trial that was running continues from its last epoch.",
             "所有已完成的运行；正在进行的运行从最后一个 epoch 继续。")
_OTHERS = ("All other trials; the study goes on.", "其他所有运行；研究继续进行。")
_STUDY, _STORAGE = "test_faults_study.py::", "test_study_storage.py::"

FAULTS: tuple[Fault, ...] = (
    Fault(area="study", name=("`kill -9` or power failure at any moment", "任意时刻的 `kill -9` 或断电"),
          sees=("Nothing. `yolograft status` says that the study is not running.", "没有提示。`yolograft status` 显示研究未在运行。"),
          survives=("All finished trials; a trial that was running repeats at most one epoch and gets the same numbers.",
                    "所有已完成的运行；正在进行的运行最多重复一个 epoch，结果完全相同。"), resume=_SAME,
          tests=("test_study_engine.py::test_three_kills_lose_no_result_and_repeat_no_trial",
                 "test_study_engine.py::test_twenty_kills_lose_no_result_and_repeat_no_trial",
                 "test_runner_train.py::test_an_interrupted_trial_equals_an_uninterrupted_one")),
    Fault(area="study", name=("Ctrl-C or SIGTERM", "Ctrl-C 或 SIGTERM"),
          sees=('"Stopped. All finished trials are saved. Continue with: yolograft study ..."; exit code 130.',
                "“已停止。所有已完成的运行都已保存。”以及继续的命令；退出码 130。"), survives=_FINISHED, resume=_SAME,
          tests=(_STUDY + "test_a_study_that_is_stopped_says_how_to_go_on",
                 "test_study_engine.py::test_ctrl_c_ends_every_process_and_leaves_a_study_that_can_be_resumed")),
    Fault(area="study", name=("A trial's process crashes or is killed, for example by the out-of-memory killer",
                              "运行的进程崩溃或被终止，例如被内存不足终止程序终止"),
          sees=("The trial fails. Its reason names the signal and the last line of its log.",
                "该运行失败；原因中写明信号和日志的最后一行。"), survives=_OTHERS, resume=_RETRY,
          tests=(_STUDY + "test_a_trial_that_fails_has_its_reason_and_retry_runs_it_again",
                 "test_study_worker.py::test_the_failure_of_a_killed_process_names_the_signal")),
    Fault(area="study", name=("Out of memory, on the CPU or a GPU", "CPU 或 GPU 内存不足"),
          sees=('The trial fails: "out of memory: ... (fewer workers, a smaller batch or a smaller imgsz need less)".',
                "该运行失败，原因为 out of memory，并说明如何降低内存占用。"), survives=_OTHERS,
          resume=("`retry=True` with fewer `workers=` or a smaller `per_gpu=`. Another `batch=` is another study.",
                  "使用 `retry=True`，并减小 `workers=` 或 `per_gpu=`。改变 `batch=` 则是另一个研究。"),
          tests=(_STUDY + "test_a_trial_that_fails_has_its_reason_and_retry_runs_it_again",)),
    Fault(area="study", name=("A loss or metric that is NaN", "损失或指标为 NaN"),
          sees=('The trial fails: "Training diverged in epoch ...".', "该运行失败，原因为“训练发散”，并写明 epoch。"),
          survives=_OTHERS, resume=("The same settings diverge again: choose others, such as a smaller `lr0=`.",
                                    "相同的设置会再次发散：请改用其他设置，例如更小的 `lr0=`。"),
          tests=(_STUDY + "test_a_trial_that_fails_has_its_reason_and_retry_runs_it_again",
                 "test_faults_train.py::test_a_loss_that_is_not_a_number_fails_the_trial_in_its_epoch")),
    Fault(area="study", name=("A trial hangs, or its process is stopped (SIGSTOP)", "运行停止响应，或其进程被暂停（SIGSTOP）"),
          sees=('After `timeout=` (1 h) without an epoch and without CPU time: "its process hung or was stopped". The second '
                "time the trial fails.", "超过 `timeout=`（1 小时）既没有完成 epoch 也没有占用 CPU 时提示其停止响应；第二次则该运行失败。"),
          survives=("The trial continues from its last epoch, once. Slow epochs use CPU time and are never ended.",
                    "该运行从最后一个 epoch 继续一次。耗时长的 epoch 会占用 CPU，不会被结束。"), resume=_RETRY,
          tests=("test_study_heartbeat.py::test_a_trial_that_hangs_once_continues_and_its_result_counts",
                 "test_study_heartbeat.py::test_a_trial_that_hangs_twice_fails_and_the_others_go_on",
                 "test_study_heartbeat.py::test_a_stopped_process_is_ended_with_its_children",
                 "test_study_heartbeat.py::test_a_busy_epoch_that_is_longer_than_the_timeout_is_not_ended")),
    Fault(area="study", name=("Full disk, at each write in turn", "磁盘已满（逐一在每次写入时发生）"),
          sees=('"The disk ... is full" or "had to stop", with the file. No trial counts as failed.',
                "提示磁盘已满或研究不得不停止，并给出文件。没有运行算作失败。"), survives=_FINISHED,
          resume=("Free some space, then run the same command.", "释放空间后运行同一命令。"),
          tests=(_STUDY + "test_a_full_disk_at_every_write_of_a_study", _STUDY + "test_a_full_disk_at_every_write_of_a_trial",
                 _STORAGE + "test_a_full_disk_raises_an_error_and_loses_no_trial",
                 "test_study_engine.py::test_a_full_disk_stops_the_study_but_no_trial_counts_as_failed")),
    Fault(area="study", name=("`study.db` is cut, overwritten, has flipped bits or damaged JSON",
                              "`study.db` 被截断、被覆盖、位翻转或 JSON 损坏"),
          sees=('"... is damaged or is no data base", with the way on. The file is not written to. Each result has a check '
                "sum, so a changed number is found.", "提示“已损坏或不是数据库”及恢复方法。不会写入该文件。每个结果都有校验和，因此数字被改动也会发现。"),
          survives=("The results in `trials/*/result.json`.", "`trials/*/result.json` 中的结果。"),
          resume=("Move `study.db` to another folder and run the same command: it reads the results from the folders.",
                  "将 `study.db` 移到其他文件夹并运行同一命令：结果会从各文件夹读取。"),
          tests=(_STUDY + "test_a_damaged_data_base_is_kept_and_the_results_come_from_the_folders",
                 _STORAGE + "test_damaged_values_are_named_as_damage_with_the_way_on",
                 _STORAGE + "test_flipped_bits_are_harmless_or_named_as_damage")),
    Fault(area="study", name=("`plan.yaml` is lost, cut or no YAML", "`plan.yaml` 丢失、被截断或不是 YAML"),
          sees=('The error of the file, and "the plan is restored from study.db". A lost file is restored at once.',
                "提示文件的错误，并说明计划可从 study.db 恢复。丢失的文件会立即恢复。"),
          survives=("Everything: `study.db` has a copy of the plan.", "全部：`study.db` 中有计划的副本。"),
          resume=("Move the damaged file to another folder and run the same command.", "将损坏的文件移到其他文件夹并运行同一命令。"),
          tests=(_STUDY + "test_a_lost_or_damaged_plan_is_restored_from_the_data_base",
                 _STUDY + "test_a_plan_that_was_cut_at_a_line_loses_no_arm")),
    Fault(area="study", name=("A damaged `result.json` or `state.pt` of a trial, or a cut line of `epochs.jsonl`",
                              "运行的 `result.json` 或 `state.pt` 损坏，或 `epochs.jsonl` 有不完整的行"),
          sees=("The file is kept as `NAME.damaged`. A damaged state is named in the trial's log.",
                "该文件保留为 `NAME.damaged`。状态文件损坏会写入运行的日志。"),
          survives=("All other trials. This one runs again, with the same numbers.", "其他所有运行。该运行会重新进行，结果相同。"),
          resume=_SAME,
          tests=(_STUDY + "test_a_damaged_result_of_a_trial_is_kept_and_the_trial_runs",
                 _STUDY + "test_a_damaged_state_of_a_trial_starts_it_from_the_beginning",
                 _STUDY + "test_damaged_lines_of_epochs_are_skipped",
                 "test_faults_train.py::test_a_damaged_state_file_is_kept_and_the_trial_starts_again")),
    Fault(area="study", name=("Two processes on one study", "两个进程同时运行同一研究"),
          sees=('The second one: "The study in ... is being run by another process."', "第二个进程提示该研究正由另一进程运行。"),
          survives=("Everything.", "全部。"), resume=("Wait for the first one, or stop it.", "等待或停止第一个进程。"),
          tests=("test_study_engine.py::test_only_one_process_can_run_a_folder",
                 "test_study_engine.py::test_two_runs_that_begin_at_once_record_the_arms_and_seeds_of_both")),
    Fault(area="study", name=("Another program locks `study.db`", "其他程序锁定 `study.db`"),
          sees=('After 2 minutes: "Another program has locked ...".', "2 分钟后提示其他程序已将其锁定。"), survives=_FINISHED,
          resume=("Close the program, then run the same command.", "关闭该程序后运行同一命令。"),
          tests=(_STORAGE + "test_a_locked_data_base_raises_an_error_after_the_timeout",)),
    Fault(area="study", name=("A wrong or unreachable `storage=`", "`storage=` 错误或无法连接"),
          sees=("What is wrong with the URL, without its password.", "说明 URL 的问题，不显示密码。"),
          survives=("Nothing was made: no empty folder is left.", "没有创建任何内容：不会留下空文件夹。"),
          resume=("Correct the URL.", "改正 URL。"),
          tests=(_STUDY + "test_a_wrong_storage_leaves_no_folder",
                 _STORAGE + "test_the_error_for_a_wrong_url_does_not_show_its_password")),
    Fault(area="study", name=("A machine of a shared storage is lost", "共享存储的某台机器失联"),
          sees=("After 3 minutes without heartbeat the others run its trials.", "3 分钟没有心跳后，其他机器会接手其运行。"),
          survives=_FINISHED, resume=("Nothing to do.", "无需处理。"),
          tests=("test_study_engine.py::test_trials_of_a_lost_machine_are_run_by_the_others",
                 _STORAGE + "test_a_trial_without_heartbeats_counts_as_lost")),
    Fault(area="study", name=("A node of a Ray cluster is lost", "Ray 集群的节点失联"),
          sees=("Its trials start again on other nodes.", "其运行会在其他节点上重新开始。"), survives=_FINISHED,
          resume=("Nothing to do.", "无需处理。"),
          tests=("test_study_cluster.py::test_a_study_loses_nothing_when_a_node_is_lost",)),
    Fault(area="study", name=("Data, weights or versions change during a study", "研究进行中数据、权重或版本发生变化"),
          sees=('"This study was started with other data or weights (...)" when the study goes on.',
                "继续研究时提示该研究是用其他数据或权重开始的。"), survives=_FINISHED,
          resume=("Restore what was recorded, or use another folder.", "恢复记录的状态，或使用其他文件夹。"),
          tests=(_STUDY + "test_data_that_changes_while_a_study_runs_is_noticed_when_it_goes_on",
                 "test_study_engine.py::test_changed_data_or_versions_raise_an_error")),
    Fault(area="train", name=("`kill -9` or power failure at any moment", "任意时刻的 `kill -9` 或断电"),
          sees=("Nothing.", "没有提示。"),
          survives=("`last.pt` of the last complete epoch and `best.pt`: both are replaced in one step.",
                    "最后一个完整 epoch 的 `last.pt` 和 `best.pt`：两者都一步替换。"),
          resume=("`yolograft train resume=True model=RUN/weights/last.pt`", "`yolograft train resume=True model=RUN/weights/last.pt`"),
          tests=("test_faults_train.py::test_a_training_that_is_killed_at_any_moment_goes_on",
                 "test_faults_train.py::test_a_checkpoint_is_whole_whichever_write_fails")),
    Fault(area="train", name=("Full disk, or out of memory", "磁盘已满或内存不足"),
          sees=('"The disk is full: ..." or "Out of memory: ...", with the command that continues.', "提示磁盘已满或内存不足，并给出继续的命令。"),
          survives=("`last.pt` of the last complete epoch.", "最后一个完整 epoch 的 `last.pt`。"),
          resume=("Free some space, then use that command. A smaller batch is another training.", "释放空间后使用该命令。减小批量则是另一次训练。"),
          tests=("test_faults_train.py::test_a_training_without_memory_or_disk_keeps_its_last_epoch",
                 "test_faults_writes.py::test_an_error_of_the_system_is_a_sentence_and_no_traceback")),
    Fault(area="train", name=("An image vanishes in the middle of an epoch", "图像在 epoch 进行中消失"),
          sees=('"A file does not exist, or was removed while the command ran: ...", with its path.', "提示文件不存在或在运行期间被删除，并给出路径。"),
          survives=("`last.pt` of the last complete epoch.", "最后一个完整 epoch 的 `last.pt`。"),
          resume=("Restore the image, then use the command in the message.", "恢复图像后使用消息中的命令。"),
          tests=("test_faults_train.py::test_a_training_stops_with_a_sentence_and_goes_on",)),
    Fault(area="train", name=("A truncated image", "图像被截断"),
          sees=("Ultralytics logs it and trains without it. `yolograft data check` names it and ends with 1.",
                "Ultralytics 写入日志并跳过它。`yolograft data check` 会指出该图像并以 1 退出。"),
          survives=("Everything.", "全部。"), resume=("Replace the image.", "替换该图像。"),
          tests=("test_faults_writes.py::test_a_truncated_image_is_named_by_the_check",)),
    Fault(area="train", name=("A truncated checkpoint", "检查点被截断"),
          sees=('One line: it is no checkpoint of PyTorch, "or it is incomplete".', "一行提示：不是 PyTorch 检查点，或不完整。"),
          survives=("`best.pt` beside `last.pt`.", "`last.pt` 旁边的 `best.pt`。"),
          resume=("Use another checkpoint, such as `epochN.pt` with `save_period=`.", "使用其他检查点，例如设置 `save_period=` 时的 `epochN.pt`。"),
          tests=("test_faults_train.py::test_a_truncated_checkpoint_is_one_line",)),
    Fault(area="data", name=("Full disk at each write in turn, or `kill -9`", "磁盘已满（逐一在每次写入时发生）或 `kill -9`"),
          sees=('"... cannot be written: No space left on device".', "提示无法写入：磁盘空间不足。"),
          survives=("The old data set, whole: a new one takes its place only when it is complete. After `kill -9` a hidden folder "
                    "`.NAME.*` can be left, which you can delete.",
                    "旧数据集完整保留：新数据集完成后才替换它。`kill -9` 之后可能留下隐藏文件夹 `.NAME.*`，可以删除。"), resume=_SAME,
          tests=("test_faults_writes.py::test_a_full_disk_at_every_write_of_a_conversion_keeps_the_old_set",
                 "test_faults_writes.py::test_a_full_disk_at_every_write_of_the_steel_set_keeps_the_old_set",
                 "test_faults_writes.py::test_a_killed_conversion_leaves_the_old_set_or_the_new_one")),
    Fault(area="results", name=("Full disk while a report is written", "写报告时磁盘已满"),
          sees=('"The report cannot be written to ...".', "提示报告无法写入。"),
          survives=("Every file of the old report that was not replaced yet; no file is half written.",
                    "旧报告中尚未替换的所有文件；没有写了一半的文件。"), resume=_SAME,
          tests=("test_faults_writes.py::test_a_full_disk_while_a_report_is_written_leaves_whole_files",
                 "test_faults_writes.py::test_a_full_disk_at_every_write_of_a_report")),
    Fault(area="results", name=("Full disk while `export format=safetensors`, `fold` or `yaml to=` write",
                                "`export format=safetensors`、`fold` 或 `yaml to=` 写入时磁盘已满"),
          sees=('"... cannot be written: ...".', "提示无法写入。"),
          survives=("The old file. The files of other export formats are written by Ultralytics and can be incomplete.",
                    "旧文件。其他导出格式的文件由 Ultralytics 写入，可能不完整。"), resume=_SAME,
          tests=("test_faults_writes.py::test_a_full_disk_at_every_write_of_a_safetensors_export_keeps_the_old_file",
                 "test_faults_writes.py::test_a_full_disk_at_every_write_of_fold_leaves_whole_files",
                 "test_faults_writes.py::test_a_full_disk_at_every_write_of_a_model_yaml_leaves_no_file")),
    Fault(area="results", name=("The file `test.json` with the scores on the test split is damaged", "测试集得分文件 `test.json` 损坏"),
          sees=("Its path, and that it is not overwritten.", "给出路径，并说明不会覆盖它。"), survives=("The networks.", "网络权重。"),
          resume=("Move it away; `test=True` scores the same networks again.", "将其移走；`test=True` 会重新评估相同的网络。"),
          tests=(_STUDY + "test_a_damaged_file_of_test_scores_is_named_and_not_overwritten",)),
    Fault(area="system", name=("A folder that is read-only or belongs to somebody else", "文件夹只读或属于他人"),
          sees=("The path and the reason. `status` and reports with `out=` read a study in such a folder.",
                "给出路径和原因。`status` 以及使用 `out=` 的报告可以读取这样的文件夹中的研究。"),
          survives=("Everything in it.", "其中的全部内容。"), resume=("Name another folder with `project=`.", "用 `project=` 指定其他文件夹。"),
          tests=(_STUDY + "test_a_folder_that_cannot_be_written_is_an_error_and_stays_unchanged",
                 _STUDY + "test_a_finished_study_can_be_read_from_a_read_only_folder",
                 "test_faults_writes.py::test_an_error_of_the_system_is_a_sentence_and_no_traceback")),
    Fault(area="system", name=("A home folder that cannot be written", "主目录不可写"),
          sees=('Before the first training: "The register of studies ... cannot be written", with the way on.',
                "首次训练之前提示研究登记文件无法写入，并给出处理方法。"), survives=("Everything.", "全部。"),
          resume=("Set `YOLOGRAFT_REGISTER=off` or another file, and `YOLO_CONFIG_DIR` for Ultralytics.",
                  "设置 `YOLOGRAFT_REGISTER=off` 或其他文件，并为 Ultralytics 设置 `YOLO_CONFIG_DIR`。"),
          tests=(_STUDY + "test_a_home_that_cannot_be_written_is_an_error_before_the_first_training",
                 _STUDY + "test_a_register_that_another_process_locks_is_named")),
    Fault(area="system", name=("The clock jumps", "系统时钟跳变"),
          sees=("Nothing: durations, `budget=` and `timeout=` use a monotonic clock. A date in a log can be wrong.",
                "没有提示：时长、`budget=` 和 `timeout=` 使用单调时钟。日志中的日期可能不对。"), survives=("Everything.", "全部。"),
          resume=("Nothing to do.", "无需处理。"),
          tests=(_STUDY + "test_a_clock_that_jumps_changes_no_result_and_no_budget",
                 _STORAGE + "test_a_clock_that_was_set_back_gives_no_negative_duration",
                 "test_study_heartbeat.py::test_only_time_between_polls_counts")),
)
