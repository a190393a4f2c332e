"""What the report says, in English and in Chinese."""

from __future__ import annotations

from yolograft.errors import GraftError, nearest

__all__ = ["LANGUAGES", "Speaker"]

CHINESE = {
    # verdicts
    "helps": "有提升", "hurts": "有下降", "no evidence either way": "无证据表明有变化",
    "too few runs to say": "运行次数不足，无法判断",
    "baseline": "基线",
    # headings
    "Verdict": "结论", "Paired differences": "配对差值", "Accuracy against cost": "精度与开销",
    "Learning curves": "学习曲线",
    "By class": "按类别", "All metrics": "全部指标", "What it cost": "开销", "How to repeat it": "如何复现",
    "How to read this": "阅读说明", "Controls": "对照", "Failed trials": "失败的运行", "Networks": "网络结构",
    "Where arms disagree": "分歧图例",
    # columns
    "arm": "方案", "verdict": "结论", "runs": "运行", "difference": "差值", "95% interval": "95% 区间",
    "adjusted p": "校正 p", "better in": "优于基线的概率", "detectable": "可检测的最小效应", "parameters": "参数量",
    "seeds": "随机种子", "data": "数据", "model": "模型", "metric": "指标", "epoch": "训练轮", "gflops": "GFLOPs",
    "latency_ms": "延迟 (ms)", "difference to": "相对差值，基线", "graft in full": "完整写法", "seed": "种子",
    "reason": "原因",
    "trials": "次运行", "done": "完成", "of": "/", "hours of training": "训练小时", "each trial": "每次运行",
    "images": "图像区间",
    # sentences
    "No arm is known to help or to hurt.": "没有任何方案被证实有提升或下降。",
    "There are too few runs to say anything yet.": "目前运行次数不足，无法得出任何结论。",
    "help": "有提升", "hurt": "有下降", "helps_one": "有提升", "hurts_one": "有下降",
    "interval_note": "均值之差的 95% 学生 t 区间（按种子配对，未作多重校正）。",
    "p_note": "精确符号翻转检验，并按 Westfall–Young max-T 对全部方案校正；"
              "结论即以此为准（整个研究误判“有提升”或“有下降”的概率不超过 5%）。",
    "better_note": "带该方案的一次运行优于同种子基线的概率（Bouthillier 等, 2021），括号内为 95% 区间。",
    "detect_note": "以这些种子数，有八成把握发现的最小真实效应；更小的效应通常会被漏掉。",
    "forest_note": "每条短竖线是一个种子；圆点为均值，横线为 95% 区间。不跨零并不等于显著：请以校正后的 p 为准。",
    "cost_note": "虚线为帕累托前沿：其下的方案在精度和开销上都不占优。",
    "curve_note": "各种子的均值；色带为 95% 区间。",
    "class_note": "与同种子基线的差值；仅供参考，未作检验：类别多时总会有几个看起来不错。",
    "few_note": "种子太少：无论结果如何，p 都不可能低于 {p}。至少需要 {n} 个种子。",
    "need_note": "按观察到的离散程度，要发现 {effects} 的差值，每个方案约需 {seeds} 个种子。",
    "pair_note": "配对使差值的方差缩小到约 1/{gain}（中位数）：同样把握下省去的种子数也大致如此。",
    "select_note": "各方案在验证集上选出：被选中者的分数偏乐观；最终数字请用留出的测试集。",
    "aa_word": "A/A 对照（重复的基线）", "aa_ok": "符合预期：未被判为有变化。",
    "aa_bad": "被判为有变化：本研究的结论应存疑。",
    "approx": "近似", "repeat_note": "在同一文件夹中再次运行即可继续；已完成的运行不会重复。",
    "tail": "由 yolograft 生成",
    "sort_note": "点击列标题排序。",
}
ENGLISH = {
    "gflops": "GFLOPs", "latency_ms": "latency (ms)", "help": "help", "hurt": "hurt", "helps_one": "helps",
    "hurts_one": "hurts",
    "interval_note": "Student's 95% interval of the mean paired difference, for each arm alone.",
    "p_note": "Exact sign-flip test, corrected over all arms by Westfall and Young's max-T. The verdict "
              "rests on it: “helps” or “hurts” is said wrongly in at most 5% of studies, whatever the number "
              "of arms.",
    "better_note": "Probability that one run with the arm beats the baseline of the same seed (Bouthillier "
                   "et al. 2021).",
    "detect_note": "The smallest true effect that this many seeds would find four times in five; smaller "
                   "ones are usually missed.",
    "forest_note": "Each tick is a seed, the dot the mean, the bar its 95% interval. A bar that clears zero "
                   "is not yet significant: the corrected p decides.",
    "cost_note": "The dashed line is the Pareto front: what lies below it is beaten in accuracy and cost at "
                 "once.",
    "curve_note": "Mean over seeds; the band is its 95% interval.",
    "class_note": "Paired difference to the baseline. To look at, not to conclude from: among many classes "
                  "some always look good.",
    "few_note": "Too few seeds: whatever they show, p cannot be below {p}. At least {n} seeds are needed.",
    "need_note": "With the spread seen here, finding a difference of {effects} would take about {seeds} "
                 "seeds per arm.",
    "pair_note": "Pairing by seed made the variance of a difference about {gain} times smaller (median over "
                 "arms), and with it the number of seeds that the same certainty takes.",
    "select_note": "Arms were compared on validation pictures: the best of many looks better than it is. "
                   "Score the chosen arm once on a held-out test split before quoting it.",
    "aa_word": "A/A control (the baseline again)", "aa_ok": "as it should be, no change is claimed.",
    "aa_bad": "a change is claimed where there is none: do not trust this study's other verdicts.",
    "repeat_note": "Run it in the same folder to go on; finished trials are not repeated.",
    "tail": "made by yolograft", "sort_note": "Click a column's head to sort.",
}
LANGUAGES = {"en": ENGLISH, "zh": CHINESE}


class Speaker:
    """Says a text in a language: `Speaker("zh")("helps")`; what has no translation is said as it is."""

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise GraftError(f"The report does not speak '{language}'.{nearest(language, LANGUAGES)} It "
                             f"speaks: {', '.join(LANGUAGES)}.")
        self.language = language

    def __call__(self, text: str, **values: object) -> str:
        """Return the text in the speaker's language, with values filled in."""
        said = LANGUAGES[self.language].get(text, text)
        return said.format(**values) if values else said
