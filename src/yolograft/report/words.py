"""What the report says, in English and in Chinese."""

from __future__ import annotations

from yolograft.errors import GraftError, nearest

__all__ = ["LANGUAGES", "TEXTS", "Speaker"]

LANGUAGES = ("en", "zh")
TEXTS = {
    # verdicts
    "helps": ("helps", "有提升"),
    "hurts": ("hurts", "有下降"),
    "no evidence either way": ("no evidence either way", "无证据表明有变化"),
    "too few runs to say": ("too few runs to say", "运行太少，无法判断"),
    "baseline": ("baseline", "基线"),
    "control": ("control", "对照"),
    # the answer
    "help": ("help", "有提升"),
    "hurt": ("hurt", "有下降"),
    "nothing": ("No arm is known to help or to hurt.", "没有方案被证实有提升或下降。"),
    "too few": ("There are too few runs to say anything yet.", "运行还太少，什么也不能说。"),
    "alone": ("The baseline alone: there is nothing to compare.", "只有基线，无可比较。"),
    "open arms": ("{n} more: no evidence either way", "另有 {n} 个方案无证据表明有变化"),
    "few arms": ("{n} more: too few runs to say", "另有 {n} 个方案运行太少"),
    # headings
    "Paired differences": ("Paired differences", "配对差值"),
    "Accuracy against cost": ("Accuracy against cost", "精度与开销"),
    "Learning curves": ("Learning curves", "学习曲线"),
    "By class": ("By class", "按类别"),
    "The network": ("The network", "网络结构"),
    "Where arms disagree": ("Where arms disagree", "分歧最大的图像"),
    "All metrics": ("All metrics", "全部指标"),
    "Controls": ("Controls", "对照"),
    "What is missing": ("What is missing", "还缺什么"),
    "What it cost": ("What it cost", "花费"),
    "How to repeat it": ("How to repeat it", "如何复现"),
    "The whole plan": ("The whole plan", "完整计划"),
    # columns and facts
    "arm": ("arm", "方案"),
    "verdict": ("verdict", "结论"),
    "runs": ("runs", "运行"),
    "difference": ("difference", "差值"),
    "95% interval": ("95% interval", "95% 区间"),
    "over images": ("over pictures", "按图像重采样"),
    "adjusted p": ("adjusted p", "校正后 p"),
    "better in": ("better in", "胜过基线"),
    "detectable": ("detectable", "可检测"),
    "parameters": ("parameters", "参数量"),
    "gflops": ("GFLOPs", "GFLOPs"),
    "latency_ms": ("latency (ms)", "延迟 (ms)"),
    "seconds": ("seconds a trial", "每次运行秒数"),
    "epochs": ("epochs", "轮数"),
    "epoch": ("epoch", "训练轮"),
    "arms": ("arms", "方案"),
    "seeds": ("seeds", "种子"),
    "data": ("data", "数据"),
    "model": ("model", "模型"),
    "metric": ("metric", "指标"),
    "trials": ("trials", "次运行"),
    "failed": ("failed", "失败"),
    "running": ("running", "运行中"),
    "waiting": ("not run", "未运行"),
    "reason": ("reason", "原因"),
    "difference to": ("difference to {base}", "相对 {base} 的差值"),
    "total time": ("computing time, all trials", "全部运行的计算时间"),
    "finished": ("finished trials", "完成的运行"),
    "fingerprint": ("fingerprint", "指纹"),
    "stride": ("stride", "步幅"),
    "reads": ("reads", "读取"),
    "other language": ("中文", "English"),
    # sentences
    "interval_note": (
        "Student's 95% interval of the mean paired difference, for each arm alone.",
        "配对差值均值的 95% 学生 t 区间，逐方案计算，未作多重校正。"),
    "images_note": (
        "95% interval of the same mean difference if other validation pictures of this kind had been drawn (bootstrap over "
        "the pictures, the same ones for all arms and seeds; these very networks).",
        "若换一批同类验证图像，同一差值均值的 95% 区间（对图像作自助重采样，各方案和种子用同一批；网络不变）。"),
    "p_note": (
        "p: exact sign-flip test on the paired differences, corrected over all arms by Westfall and Young's max-T. The "
        "verdict rests on it: in at most 5% of studies is “helps” or “hurts” said of any arm wrongly.",
        "p：对配对差值作精确符号翻转检验，并按 Westfall–Young max-T 对全部方案校正。结论以此为准："
        "至多 5% 的研究会对任一方案误判“有提升”或“有下降”。"),
    "race_note": (
        "p: exact sign-flip test on the paired differences, corrected over all arms by Holm, since arms that racing stopped "
        "early have fewer seeds. The verdict rests on it: in at most 5% of studies is “helps” said of any arm wrongly.",
        "p：对配对差值作精确符号翻转检验；竞赛提前停掉的方案种子较少，故按 Holm 法对全部方案校正。结论以此为准："
        "至多 5% 的研究会对任一方案误判“有提升”。"),
    "better_note": (
        "Probability that a run with the arm beats the baseline's run of the same seed, with its 95% interval "
        "(Bouthillier et al. 2021).",
        "该方案的一次运行胜过同种子基线的概率及其 95% 区间（Bouthillier 等，2021）。"),
    "detect_note": (
        "The smallest true effect that this many seeds would find four times in five; smaller ones are usually missed.",
        "以这些种子数有八成把握发现的最小真实效应；更小的通常会漏掉。"),
    "sort_note": (
        "Click a column's head to sort; point at an arm to find it in every figure.",
        "点击列标题可排序；指向某一方案，它在各图中会突出显示。"),
    "forest_note": (
        "Each tick is a seed, the dot the mean, the bar its 95% interval. A bar that clears zero is not yet "
        "significant: the corrected p decides.",
        "短竖线是各个种子，圆点是均值，横线是 95% 区间。横线不过零还不算显著，以校正后的 p 为准。"),
    "cost_note": (
        "The dashed line is the Pareto front: for whatever lies below it, another arm is at least as accurate and costs "
        "no more.",
        "虚线是帕累托前沿：线下的方案，都另有方案精度不低于它而开销不高于它。"),
    "curve_note": (
        "Left: means over seeds. Right: means of the paired difference. Bands are 95% intervals; where arms are many, "
        "only those of the baseline and of arms with a verdict.",
        "左：各种子的均值。右：配对差值的均值。色带是 95% 区间；方案多时只画基线和已有结论者。"),
    "class_note": (
        "Paired differences in average precision. To look at, not to conclude from: among many classes some always look "
        "good.",
        "各类别平均精度的配对差值。仅供观察，不作结论：类别一多，总有几个看着不错。"),
    "network_note": (
        "The baseline's model, untrained: each box is a row of its YAML, from the picture on the left to the head on the "
        "right; /8 is a map of one eighth of the picture's size. Each mark above a row is an arm with a block in it.",
        "基线的模型结构：每个方框是其 YAML 的一行，左起为图像，右端为检测头；/8 表示边长为图像八分之一的特征图。"
        "框上的标记表示某方案在该行有嫁接模块。"),
    "pictures_note": (
        "The pictures on which an arm gains or loses most against the baseline, chosen for that: they show what changes, "
        "not how often. Scores are F1 at an overlap of 0.5; shown is the seed with the largest difference.",
        "与基线相比得失最大的图像；正因如此才被选中，它们说明变化是什么样，而不说明变化有多常见。"
        "分数为 IoU 0.5 处的 F1；所示为差异最大的种子。"),
    "no_pictures": ("No pictures: {why}.", "没有图像：{why}。"),
    "picture_gain": ("F1 {gain} over {runs} runs, seed {seed} shown", "{runs} 次运行的 F1 平均 {gain}，所示为种子 {seed}"),
    "hit": ("hit", "检出"),
    "false": ("false alarm", "误检"),
    "missed": ("missed", "漏检"),
    "no_network": ("No drawing: {why}", "无法绘制：{why}"),
    "shown_note": (
        "Too many arms for a figure: these are the baseline and the {n} with the clearest differences; the tables have "
        "all.",
        "方案太多，图中只画基线和差异最明确的 {n} 个；表格中是全部。"),
    "few_note": (
        "Too few seeds: whatever they show, p cannot be below {p}. At least {n} seeds are needed.",
        "种子太少：无论结果如何，p 都不会低于 {p}。至少需要 {n} 个种子。"),
    "need_note": (
        "With the spread seen here, finding a true difference of {effects} would take about {seeds} seeds per arm.",
        "按这里看到的离散程度，要发现 {effects} 的真实差值，每个方案约需 {seeds} 个种子。"),
    "pair_note": (
        "Pairing by seed made the variance of a difference about {gain} times smaller (median over arms), and with it the "
        "number of seeds that the same certainty takes.",
        "按种子配对使差值的方差约缩小为 1/{gain}（各方案的中位数），同样把握所需的种子数也随之减少。"),
    "no_pair_note": (
        "Pairing by seed bought nothing here: an unpaired difference would vary about {gain} times as much (median over "
        "arms). Much of a run's spread is training's own chaos, which no pairing removes.",
        "按种子配对在这里没有带来好处：不配对的差值的方差约为配对的 {gain} 倍（各方案的中位数）。"
        "波动大多来自训练自身的混沌，配对无法消除。"),
    "select_note": (
        "Arms were compared on validation pictures, and the best of many looks better than it is: score the chosen arm "
        "once on a held-out test split before quoting it.",
        "各方案是在验证集上比较的，众多方案中的最好者会显得比实际更好：引用前，请在留出的测试集上对选中的方案评一次。"),
    "test_note": (
        "On the held-out test split, scored once, {arm} (chosen by validation among {among}) {word}: difference {size}, 95% "
        "interval {low} to {high}, p = {p}.",
        "在只评一次的留出测试集上，{arm}（由验证集从 {among} 个方案中选出）{word}：差值 {size}，"
        "95% 区间 {low} 至 {high}，p = {p}。"),
    "epochs_note": (
        "Would fewer epochs have ranked the {arms} arms alike? Kendall's tau of their means with the final ones (1 is the "
        "same order): {taus}.",
        "减少训练轮数能否得到同样的排序？{arms} 个方案的均值与最终均值的 Kendall 秩相关（1 为次序相同）：{taus}。"),
    "after epoch": ("{tau} after epoch {epoch} ({share}%)", "第 {epoch} 轮后（{share}%）为 {tau}"),
    "cheaper_note": (
        "Would the cheaper study {name} have ranked the {arms} arms alike? Kendall's tau {tau} "
        "({differ}).",
        "更便宜的研究 {name} 能否得到同样的排序？{arms} 个方案的 Kendall 秩相关为 {tau}（{differ}）。"),
    "cheaper time": ("{share}% of the time a trial", "每次运行用时为 {share}%"),
    "aa_ok": (
        "A/A control (the baseline again): as it should be, no change is claimed.",
        "A/A 对照（再跑一遍基线）：符合预期，未被判为有变化。"),
    "aa_bad": (
        "A/A control (the baseline again): a change is claimed where there is none. Do not trust this study's other "
        "verdicts.",
        "A/A 对照（再跑一遍基线）：本无变化却被判为有变化，本研究的其他结论不可信。"),
    "aa": (
        "the baseline again, its weights moved by one part in a million: what no change looks like",
        "再跑一遍基线，初始权重只动百万分之一：没有变化时看起来是什么样"),
    "params": (
        "a plain 1×1 convolution with about as many parameters, at the same sites",
        "在同样位置放一个参数量相近的普通 1×1 卷积"),
    "gate1": ("the block with its gates fixed at 1", "同一模块，但门控恒为 1"),
    "scale": ("the bare host at the next scale", "不嫁接，换用大一号的模型"),
    "unfinished": ("Unfinished: {done} of {planned} trials have a result", "尚未完成：共 {planned} 次运行，{done} 次有结果"),
    "unfinished_tail": (
        "The verdicts may still change, and stopping as soon as one looks good would make the 5% untrue. Go on with:",
        "结论还可能改变；一看到好结果就停，会使 5% 的误判率不再成立。继续运行："),
    "no_figure": (
        "Nothing to draw: no trial has recorded it.",
        "无可绘制：没有运行记录了这些数据。"),
    "repeat_note": (
        "With the plan below as plan.yaml. In the study's own folder it goes on where it stopped; finished trials are not "
        "run again.",
        "把下面的计划存为 plan.yaml。在原研究的文件夹中运行则接着做，已完成的不会重跑。"),
    "beside_note": (
        "Beside this page: tables/ as CSV, Markdown and LaTeX (booktabs), figures/ as SVG and PDF.",
        "与本页同在一处：tables/ 中有 CSV、Markdown、LaTeX (booktabs) 表格，figures/ 中有 SVG、PDF 图。"),
    "tail": ("Made by yolograft {version}.", "由 yolograft {version} 生成。"),
}


class Speaker:
    """Says a text in a language: `Speaker("zh")("helps")`; what has no translation is said as it is.

    Raises:
        GraftError: the report does not speak the language.
    """

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise GraftError(f"The report does not speak '{language}'.{nearest(language, LANGUAGES)} It "
                             f"speaks: {', '.join(LANGUAGES)}.")
        self.language = language

    def __call__(self, text: str, **values: object) -> str:
        """Return the text in the speaker's language, with values filled in."""
        said = TEXTS[text][LANGUAGES.index(self.language)] if text in TEXTS else text
        return said.format(**values) if values else said
