"""The texts of the paper kit, in English and in Chinese."""

from __future__ import annotations

from yolograft.report import words

__all__ = ["TEXTS"]

TEXTS: dict[str, tuple[str, str]] = {
    **{key: words.TEXTS[key] for key in (
        "helps", "hurts", "no evidence either way", "too few runs to say", "differs", "no difference larger than the margin",
        "no verdict", "arm", "verdict", "runs", "added_note", "register_note", "looks_note", "test_note", "aa", "params",
        "gate1", "scale")},
    # table
    "precision": ("P", "P"),
    "recall": ("R", "R"),
    "accuracy": ("Acc.", "准确率"),
    "parameters": ("Params (M)", "参数量 (M)"),
    "gflops": ("GFLOPs", "GFLOPs"),
    "fps": ("FPS", "FPS"),
    "SD": ("{metric} SD", "{metric} 标准差"),
    "baseline": ("baseline", "基线"),
    "caption": (
        "Ablation on {data} with {model}: mean ± standard deviation over {seeds} seeds.",
        "{data} 上的消融实验（{model}）：{seeds} 个种子的均值 ± 标准差。"),
    "caption one": (
        "Ablation on {data} with {model}: one run of each arm.",
        "{data} 上的消融实验（{model}）：每个方案一次运行。"),
    # footnote
    "spread": (
        "± is the sample standard deviation over the runs of an arm, and not a confidence interval.",
        "± 为各方案多次运行的样本标准差，不是置信区间。"),
    "fewer": ("Fewer runs: {arms}.", "运行次数较少的方案：{arms}。"),
    "fewer arm": ("{arm} {runs}", "{arm} {runs} 次"),
    "bold some": (
        "Bold in {metric}: arms that help, without those whose 95% interval is wholly below that of another one. "
        "Other columns were not tested and have no bold.",
        "{metric} 列加粗的是有提升的方案，不含其 95% 区间整体低于另一方案者；其他列未作检验，不加粗。"),
    "bold base": (
        "Bold in {metric}: the baseline, because every arm hurts. Other columns were not tested and have no bold.",
        "{metric} 列加粗的是基线，因为所有方案都有下降；其他列未作检验，不加粗。"),
    "bold none": (
        "Nothing is bold, because no arm is shown to be better than the baseline in {metric}; other columns were not "
        "tested.",
        "没有加粗的数值，因为没有方案被证实在 {metric} 上优于基线；其他列未作检验。"),
    "alarm": (
        "The A/A control {arms} differs from the baseline although nothing was changed: the verdicts of this study "
        "are not to be trusted, and nothing is bold.",
        "A/A 对照 {arms} 与基线有差异，而实际上没有任何改动：本研究的结论不可信，因此不加粗。"),
    "marks": ("Verdicts: {marks}.", "结论：{marks}。"),
    "mark helps": (
        "{mark} helps, {mark2} hurts (the 95% interval excludes 0)",
        "{mark} 有提升，{mark2} 有下降（95% 区间不含 0）"),
    "mark differs": ("{mark} control that differs", "{mark} 有差异的对照"),
    "mark equivalent": (
        "{mark} no difference larger than {margin} (the 90% interval is within ±{margin})",
        "{mark} 差异不超过 {margin}（90% 区间在 ±{margin} 之内）"),
    "mark open": (
        "{mark} no evidence either way, which does not show that there is no effect",
        "{mark} 没有证据表明有变化，这并不说明没有效果"),
    "mark few": ("{mark} no verdict, or too few runs for one", "{mark} 不下结论，或运行次数太少"),
    "data": (
        "Data: {data}, validation split{images}; model {model}; {settings}; seeds {seeds}.",
        "数据：{data} 的验证集{images}；模型 {model}；{settings}；种子 {seeds}。"),
    "images": (" ({description})", "（{description}）"),
    "test max-T": (
        "Test of {metric}, fixed before the first run: exact sign-flip test on the differences paired by seed, "
        "corrected over {arms} arms{looks} by max-T (Westfall and Young); family-wise error rate {alpha}%; {margin}.",
        "检验指标为 {metric}，在首次运行之前固定：对按种子配对的差值作精确符号翻转检验，以 max-T（Westfall 和 Young"
        "）对 {arms} 个方案{looks}作多重比较校正；族错误率 {alpha}%；{margin}。"),
    "test Holm": (
        "Test of {metric}, fixed before the first run: exact sign-flip test on the differences paired by seed, "
        "corrected over {arms} arms by Holm, because arms were stopped early; family-wise error rate {alpha}%; "
        "{margin}.",
        "检验指标为 {metric}，在首次运行之前固定：对按种子配对的差值作精确符号翻转检验；因有方案提前淘汰，以 Holm 法"
        "对 {arms} 个方案作多重比较校正；族错误率 {alpha}%；{margin}。"),
    "test splits": (
        "Test of {metric}, fixed before the first run: corrected resampled t-test (Nadeau and Bengio) on the mean "
        "differences of {splits} splits into {train} and {val} images, corrected over {arms} arms by Holm; family-wise "
        "error rate {alpha}%; {margin}.",
        "检验指标为 {metric}，在首次运行之前固定：将图像划分 {splits} 次（训练 {train} 张、验证 {val} 张），对各次"
        "划分的平均差值作校正的重抽样 t 检验（Nadeau 和 Bengio），以 Holm 法对 {arms} 个方案作多重比较校正；族错误率 "
        "{alpha}%；{margin}。"),
    "and sets": (" on {sets} data sets", "、{sets} 个数据集"),
    "and looks": (" and {looks} looks", "、{looks} 次查看"),
    "with margin": ("margin {margin}", "等效界值 {margin}"),
    "without margin": ("no margin", "未设等效界值"),
    "intervals": (
        "Intervals are simultaneous over all arms and looks, and agree with the verdicts. They speak of other seeds "
        "on the same data, and not of other data.",
        "区间对全部方案和各次查看同时成立，并与结论一致；它们针对同一数据上的其他种子，不针对其他数据。"),
    "intervals splits": (
        "Intervals are simultaneous over all arms, and agree with the verdicts. They speak of other seeds and other splits "
        "of the same images, and not of other data.",
        "区间对全部方案同时成立，并与结论一致；它们针对其他种子以及相同图像的其他划分，不针对其他数据。"),
    "versions": ("Versions: {versions}.", "版本：{versions}。"),
    "FPS": (
        "FPS: {device}, batch {batch}, imgsz {imgsz}, {precision}, {threads} threads, {nms}, median of {repeats} "
        "turns after {warm_up} that were not counted.",
        "FPS：{device}，batch {batch}，imgsz {imgsz}，{precision}，{threads} 线程，{nms}，{repeats} 轮的中位数（另有 "
        "{warm_up} 轮预热）。"),
    "busy": ("Other programs used {share}% of the CPU meanwhile.", "测量时其他程序占用了 {share}% 的 CPU。"),
    "with NMS": ("with NMS", "含 NMS"),
    "without NMS": ("without NMS", "不含 NMS"),
    "unfinished": (
        "Unfinished: {done} of {planned} runs have a result.",
        "尚未完成：共 {planned} 次运行，其中 {done} 次已有结果。"),
    # sentences
    "pooled": ("the mean of {base} and its copies", "{base} 及其副本的均值"),
    "up": (
        "{arm} helps: the mean paired difference in {metric} to {base} over {seeds} is {difference} (95% interval "
        "{low} to {high}, adjusted p = {p}).",
        "{arm} 有提升：{seeds}中 {metric} 与 {base} 的平均配对差值为 {difference}（95% 区间 {low} 至 {high}，校正后 "
        "p = {p}）。"),
    "down": (
        "{arm} hurts: the mean paired difference in {metric} to {base} over {seeds} is {difference} (95% interval "
        "{low} to {high}, adjusted p = {p}).",
        "{arm} 有下降：{seeds}中 {metric} 与 {base} 的平均配对差值为 {difference}（95% 区间 {low} 至 {high}，校正后 "
        "p = {p}）。"),
    "differing": (
        "{arm} differs from {base}: the mean paired difference in {metric} over {seeds} is {difference} (95% "
        "interval {low} to {high}, adjusted p = {p}).",
        "{arm} 与 {base} 有差异：{seeds}中 {metric} 的平均配对差值为 {difference}（95% 区间 {low} 至 {high}，校正后 "
        "p = {p}）。"),
    "equivalent": (
        "{arm} makes no difference larger than {margin} in {metric}: the mean paired difference to {base} over "
        "{seeds} is {difference} (90% interval {low} to {high}, two one-sided tests).",
        "{arm} 对 {metric} 的影响不超过 {margin}：{seeds}中与 {base} 的平均配对差值为 {difference}（90% 区间 {low} "
        "至 {high}，双单侧检验）。"),
    "undecided": (
        "For {arm} there is no evidence either way: the mean paired difference in {metric} to {base} over {seeds} is "
        "{difference} (95% interval {low} to {high}, adjusted p = {p}).",
        "没有证据表明 {arm} 有变化：{seeds}中 {metric} 与 {base} 的平均配对差值为 {difference}（95% 区间 {low} 至 "
        "{high}，校正后 p = {p}）。"),
    "missed": (
        "True differences below {detectable} are usually missed by {seeds}.",
        "以 {seeds}通常检不出小于 {detectable} 的真实差值。"),
    "few": (
        "There are too few runs to say whether {arm} changes {metric}: {seeds} cannot reach p ≤ 0.05 whatever they "
        "show.",
        "运行次数太少，无法判断 {arm} 是否改变 {metric}：无论结果如何，{seeds}都达不到 p ≤ 0.05。"),
    "none": ("There is no verdict on {arm}: {reason}", "对 {arm} 不下结论：{reason}"),
    "stopped": (
        "{arm} was stopped early, after {seeds}, since it could hardly be shown to help any more: no evidence either "
        "way.",
        "{arm} 在 {seeds}之后被提前淘汰，因为它已几乎不可能被证实有提升：没有证据表明有变化。"),
    "distrusted": (
        "This study supports no statement on {arm}: its A/A control {alarms} differs from the baseline although "
        "nothing was changed.",
        "本研究不能对 {arm} 作出任何判断：A/A 对照 {alarms} 与基线有差异，而实际上没有任何改动。"),
    "seeds": ("{n} paired seeds", "{n} 个配对种子"),
    "seed": ("{n} paired seed", "{n} 个配对种子"),
    "overestimated": (
        "This is smaller than the {detectable} that {seeds} usually detect, so the effect is probably overestimated.",
        "该差值小于 {seeds}通常能检出的 {detectable}，因此效应很可能被高估。"),
    "within": ("The difference is shown to be not larger than {margin}.", "同时证实差异不超过 {margin}。"),
    "failed": (
        "{failed} of {pairs} pairs have a failed run, which counts against the verdict.",
        "{pairs} 对运行中有 {failed} 对失败，失败按不利于结论计。"),
    "shared": (
        "With the earlier studies of the same data and model counted, the verdict is: {word}.",
        "若计入此前对相同数据和模型的研究，结论为：{word}。"),
    "control aa": ("{sentence} (A/A control: the baseline again.)", "{sentence}（A/A 对照：重复运行基线。）"),
    "control": ("{sentence} (Control: {what}.)", "{sentence}（对照：{what}。）"),
    "alone": ("The study has no arm besides the baseline.", "本研究除基线外没有其他方案。"),
}
