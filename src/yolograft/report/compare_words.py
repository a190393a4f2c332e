"""The texts of the page of `yolograft compare`, in English and in Chinese."""

from __future__ import annotations

__all__ = ["TEXTS"]

TEXTS = {
    "headline": (
        "{count} single runs compare nothing: one run of each cannot tell a better model from chance.",
        "{count} 次单独的运行比较不出结论：每个配置只有一次运行，无法区分模型更好还是偶然。"),
    "other data": (
        "WARNING: these runs used different data sets ({data}). Their numbers must not be compared at all.",
        "警告：这些运行使用了不同的数据集（{data}），其数值完全不可比较。"),
    "other classes": (
        "WARNING: these checkpoints have different classes ({classes}). Their numbers must not be compared at all.",
        "警告：这些权重的类别不同（{classes}），其数值完全不可比较。"),
    "not finished": (
        "WARNING: not finished: {runs}. A learning rate schedule that did not end gives a lower metric.",
        "警告：未完成的运行：{runs}。学习率调度没有走完时，指标会偏低。"),
    "seed note": (
        "In the published studies of this project (NEU-DET, YOLO11n, {epochs} epochs), the difference between two paired "
        "runs varied over seeds with a standard deviation of {spread} mAP50-95. On your data it can be larger or smaller.",
        "在本项目已发表的研究（NEU-DET、YOLO11n、{epochs} 轮）中，两次配对运行之差在不同种子间的标准差为 {spread} "
        "mAP50-95。在您的数据上可能更大或更小。"),
    "study note": (
        "For an answer, run a study with several seeds: yolograft study data={data} model=MODEL arms=\"none; se@8; aa\" "
        "seeds=8",
        "要得到结论，请用多个种子做一次研究：yolograft study data={data} model=MODEL arms=\"none; se@8; aa\" seeds=8"),
    "Results": ("Results", "结果"),
    "results note": (
        "Each run at its best epoch, the first with the largest {metric}. A maximum over epochs is biased upwards.",
        "各次运行取最佳轮次（{metric} 首次达到最大值的轮次）。在多个轮次中取最大值会使结果偏高。"),
    "run": ("run", "运行"),
    "best epoch": ("best epoch", "最佳轮次"),
    "epochs done": ("epochs", "已训练轮数"),
    "last": ("last epoch", "最后一轮"),
    "difference to first": ("difference to {base}", "相对 {base} 的差值"),
    "times": ("difference / published SD", "差值 / 已发表的标准差"),
    "What differs": ("What differs between their args.yaml", "args.yaml 之间的不同"),
    "nothing differs": (
        "Nothing but names of folders. These are two runs of one configuration, and their difference is noise.",
        "除文件夹名称外没有不同。它们是同一配置的多次运行，差异只是噪声。"),
    "many differ": (
        "{count} arguments differ, so a difference could not be attributed to one of them.",
        "有 {count} 个参数不同，因此即使有差异也无法归因于其中某一个。"),
    "seed differs": (
        "Only the seed. These are runs of one configuration, and their difference is noise.",
        "只有种子不同。它们是同一配置的多次运行，差异只是噪声。"),
    "one differs": ("One argument differs.", "有一个参数不同。"),
    "argument": ("argument", "参数"),
    "Learning curves": ("Learning curves", "学习曲线"),
    "Losses": ("Losses", "损失"),
    "losses note": ("Solid: validation. Dashed: training.", "实线：验证集；虚线：训练集。"),
    "epoch": ("epoch", "训练轮次"),
    "Precision and recall": ("Precision and recall", "精确率与召回率"),
    "pr note": (
        "Best checkpoint of each run, validated again on {data}; IoU 0.5, mean over the classes with objects. The number is "
        "the area under the curve (mAP50).",
        "各次运行的最佳权重在 {data} 上重新验证；IoU 0.5，对有目标的类别取平均。图例中的数值为曲线下面积（mAP50）。"),
    "pr missing": (
        "No curves: Ultralytics stores them only as an image. With val=True, best.pt of each run is validated again on the "
        "data set of the run, or on that of data=DATA.yaml.",
        "没有曲线：Ultralytics 只把它们保存为图像。使用 val=True 时，会在该运行的数据集或 data=DATA.yaml 指定的数据集上重新"
        "验证各次运行的 best.pt。"),
    "pr task": ("No curves: they exist for task=detect only.", "没有曲线：仅 task=detect 支持。"),
    "recall": ("recall", "召回率"),
    "precision": ("precision", "精确率"),
    "runs": ("runs", "运行"),
    "task": ("task", "任务"),
}
