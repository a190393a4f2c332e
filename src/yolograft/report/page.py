"""The HTML page of a report, and the folder with its tables and figures."""

from __future__ import annotations

import gc
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from statistics import mean, median

import jinja2

from yolograft import __version__
from yolograft.atomic import atomic_write
from yolograft.errors import GraftError
from yolograft.language import requested, speaking, tr
from yolograft.report import tables
from yolograft.report.captions import caption, missing
from yolograft.report.data_sets import data_sets
from yolograft.report.figures import FIGURES
from yolograft.report.gate_health import arm_gates, explain_page
from yolograft.report.network import of as read_network
from yolograft.report.pictures import Gallery, gallery
from yolograft.report.signed import number
from yolograft.report.style import inline, save
from yolograft.report.summary import SIZES, Summary
from yolograft.report.words import LANGUAGES, Translator
from yolograft.study import Study, silence
from yolograft.study.engine import host_warnings
from yolograft.study.plan import Plan
from yolograft.study.population import population
from yolograft.study.statistics import seeds_to_resolve, smallest_p
from yolograft.study.storage import Row
from yolograft.study.trial import load_host
from yolograft.study.verdict import Verdict, Word

__all__ = ["page", "write"]

_SIGNS = {Word.HELPS: "▲", Word.HURTS: "▼", Word.DIFFERS: "◆", Word.EQUIVALENT: "＝", Word.UNDECIDED: "●", Word.FEW: "○",
          Word.NONE: "○"}
_CLASSES = {Word.HELPS: "helps", Word.HURTS: "hurts", Word.DIFFERS: "differs", Word.EQUIVALENT: "equivalent",
            Word.UNDECIDED: "open", Word.FEW: "few", Word.NONE: "few"}
_SKEWED = 1.5  # skewness of the differences that is worth a note
_LARGE_GAIN = 100.0  # where pairing leaves almost no variance, its exact effect means nothing
_COSTS = ("parameters", "gflops", "latency_ms", "seconds", "epochs")
_EFFECTS = (0.005, 0.01, 0.02)  # differences in mAP that papers report


def write(study: Study | str | Path, folder: str | Path | None = None, *, languages: Sequence[str] = LANGUAGES,
          pictures: str | Path | None = None, storage: str | None = None,
          cheaper: str | Path | None = None) -> list[Path]:
    """Write a study's report and return the pages' paths, one for each language.

    The folder (by default `report` in the study's folder) gets `report.html`, `report.zh.html` in Chinese, and the folders
    `tables` and `figures` for papers. Other files in it do not change.

    >>> write("runs/study")  # doctest: +SKIP
    [PosixPath('runs/study/report/report.html'), PosixPath('runs/study/report/report.zh.html')]

    Args:
        study: a study, or its folder.
        folder: where to write.
        languages: `en`, `zh` or both.
        pictures: the folder of the data set's images, if they are no longer at the path in its YAML.
        storage: URL of the study's storage, if it is not in the study's folder.
        cheaper: the folder of a study of the same arms with fewer epochs or smaller images, whose ranking is compared.

    Raises:
        GraftError: the study or the language does not exist, or the folder cannot be written.
    """
    translators = [Translator(language) for language in languages]
    study = study if isinstance(study, Study) else Study.load(study, storage=storage)
    folder = Path(folder) if folder is not None else study.folder / "report"
    if len(study.parts) > 1:  # a page for each data set, with the combined reading
        return [file for part in study.parts for file in write(
            part, folder / part.plan.dataset, languages=languages, pictures=pictures, cheaper=cheaper)]
    summary = Summary(study, Study.load(cheaper) if cheaper is not None else None)
    images = gallery(summary, pictures)
    links = explain_page(study, folder)
    pages = {folder / _name(say.language): say for say in translators}
    gc.freeze()  # figures cause many garbage collections, and each would scan all objects of the study
    try:
        for kind in ("tables", "figures"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, build in tables.TABLES.items():
            table = build(summary)
            if len(table) < 2 or len(table[0]) < 3:  # no trial has these values
                continue
            for format in tables.FORMATS:
                _write(folder / "tables" / f"{name}.{format}", tables.render(table, format).encode())
        for figure, draw in FIGURES.items():
            for format in ("svg", "pdf"):
                content = save(partial(draw, summary, Translator("en")), format)
                if content is not None:
                    _write(folder / "figures" / f"{figure}.{format}", content)
        for path, say in pages.items():
            other = next((sibling.name for sibling in pages if sibling != path), None)
            shown = images
            if not images.examples and say.language != requested():
                with speaking(say.language):  # the reason why there are none
                    shown = gallery(summary, pictures)
            _write(path, page(summary, say, shown, other=other, explained=links).encode())
    except OSError as error:
        raise GraftError(tr("The report cannot be written to '{folder}': {error}.", folder=folder, error=error)) from error
    finally:
        gc.unfreeze()
    return list(pages)


def _name(language: str) -> str:
    return "report.html" if language == "en" else f"report.{language}.html"


def _write(path: Path, content: bytes) -> None:
    atomic_write(path, lambda part: part.write_bytes(content))


def page(summary: Summary, say: Translator, images: Gallery, *, other: str | None = None,
         explained: Mapping[str, str] | None = None) -> str:
    """Return the page as HTML that loads no other file.

    Args:
        summary: the study.
        say: the language.
        images: the images with the largest differences.
        other: the file name of the page in the other language.
        explained: arm -> link to its page of `yolograft explain`.
    """
    # the reasons of verdicts are in the language in which they were computed first
    language = requested() if summary.verdicts else say.language
    with speaking(say.language):
        return _render(summary, say, images, other, explained or {}, language)


def _render(summary: Summary, say: Translator, images: Gallery, other: str | None, explained: Mapping[str, str],
            language: str) -> str:
    plan = summary.study.plan
    results = [result for by_seed in summary.study.results.values() for result in by_seed.values()]
    figures = {name: inline(partial(draw, summary, say), name) for name, draw in FIGURES.items()}
    network = summary.network if summary.network.nodes else read_network(summary.study)  # the reason in this language
    return _template().render(
        s=summary, plan=plan, say=say, requested=language, gallery=images, other=other, version=__version__,
        title=_title(summary.study), sets=data_sets(summary.study, _name(say.language)),
        gates=arm_gates(summary.study), explained=explained,
        headline=headline(summary, say), notes=notes(summary, say), signs=_SIGNS, classes=_CLASSES, finite=math.isfinite,
        figures=figures, network=network, sizes=[size for size in SIZES if size in summary.sizes.get(summary.baseline, {})],
        captions={name: (caption if drawn else missing)(name, summary, say) for name, drawn in figures.items()},
        protocol=protocol(summary, say), duration=partial(_duration, say),
        controls=list(dict.fromkeys(arm.role for arm in plan.arms if arm.role)),
        p_note="race_note" if plan.race else "splits_note" if plan.splits else "p_note",
        spoken=lambda verdict: spoken(verdict, say),
        costs=[name for name in _COSTS if any(name in row.costs for row in summary.rows)],
        devices=sorted({result.notes["device"] for result in results if "device" in result.notes}),
        seconds=sum(map(_seconds, summary.study.rows)), folder=summary.study.folder,
        plan_text=plan.text(),
    )


def _title(study: Study) -> str:
    """Return the name of a study, with that of the data set if it has several."""
    name = study.folder.resolve().name
    return name if study.whole is None else f"{name} · {study.plan.dataset}"


@cache
def _template() -> jinja2.Template:
    loader = jinja2.PackageLoader("yolograft.report", "templates")
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined,
                                     trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=number, change=_change)
    return environment.get_template("report.html.j2")


def spoken(verdict: Verdict, say: Translator) -> str:
    """Return the word of a verdict in the language of the page."""
    return say(str(verdict.word), margin=f"{verdict.margin or 0:g}")


def headline(summary: Summary, say: Translator) -> str:
    """Return the study's result in one sentence: an alarm of the A/A control, or effects with their intervals."""
    by_word, comma = summary.headline, say.punctuation.items
    alarms = [row.name for row in summary.rows if row.control == "aa" and row.verdict is not None
              and row.verdict.word is Word.DIFFERS]
    if alarms:
        return say("alarm", arms=comma.join(alarms), size=_effect(summary, alarms[0], say))
    clauses = []
    for word in (Word.HELPS, Word.HURTS):
        arms = by_word[word]
        if arms:
            named = comma.join(f"{arm} {say(str(word))} ({_effect(summary, arm, say)})" for arm in arms[:6])
            clauses.append(named + (" …" if len(arms) > 6 else ""))
    if by_word[Word.EQUIVALENT]:
        arms = by_word[Word.EQUIVALENT]
        clauses.append(f"{comma.join(arms[:6])}{' …' if len(arms) > 6 else ''}{say.punctuation.colon}"
                       + spoken(summary.verdicts[arms[0]], say))
    if not clauses:
        if not summary.verdicts:
            return say("alone")
        if by_word[Word.NONE] and not by_word[Word.UNDECIDED]:
            return say("no word")
        return say("too few" if by_word[Word.FEW] and not by_word[Word.UNDECIDED] else "nothing")
    for word, key in ((Word.UNDECIDED, "open arms"), (Word.FEW, "few arms"), (Word.NONE, "none arms")):
        if by_word[word]:
            clauses.append(say(key, n=len(by_word[word])))
    return say.punctuation.semicolon.join(clauses) + say.punctuation.stop


def _effect(summary: Summary, arm: str, say: Translator) -> str:
    """Return an effect with its interval."""
    verdict = summary.verdicts[arm]
    low, high = (number(end, sign=True) for end in verdict.interval)
    return say("effect", size=number(verdict.mean, sign=True), metric=summary.metric, low=low, high=high)


def notes(summary: Summary, say: Translator) -> list[tuple[str, str]]:
    """Return the notes below the table: (kind, text), where the kind is "plain" or "warn"."""
    plan, texts = summary.study.plan, []
    need = seeds_to_resolve()
    if len(plan.seeds) < need and plan.splits is None:
        texts.append(("warn", say("few_note", p=f"{smallest_p(len(plan.seeds)):.2g}", n=need)))
    with speaking(say.language):
        texts += [("warn", warning) for warning in _host_warnings(plan)]
        texts.append(("plain", population(plan)))
    texts += _look_notes(summary, say)
    comma = say.punctuation.items
    texts += [("warn", say("equal_seeds_note", arm=arm, seeds=comma.join(map(str, seeds))))
              for arm, seeds in silence.equal_seeds(summary.study).items()]
    texts += [("warn", say("unmoved_note", arm=arm, n=count, names=comma.join(names)))
              for arm, (count, names) in silence.unmoved_runs(summary.study).items()]
    checked = [row.verdict.word for row in summary.rows if row.control == "aa" and row.verdict is not None
               and row.verdict.word not in (Word.FEW, Word.NONE)]
    if checked:
        passed = Word.DIFFERS not in checked
        texts.append(("plain" if passed else "warn", say("aa_ok" if passed else "aa_bad")))
    if len(plan.copies) > 1:
        texts.append(("plain", say("copies_note", n=len(plan.copies) + 1)))
    claims = [verdict for verdict in summary.verdicts.values() if verdict.word in (Word.HELPS, Word.HURTS)]
    weak = [verdict.arm for verdict in claims if abs(verdict.mean) < verdict.detectable]
    if claims:
        texts.append(("plain", say("winner_note")))
    if weak:
        texts.append(("warn", say("weak_note", arms=comma.join(weak))))
    skewed = [verdict.arm for verdict in summary.verdicts.values() if abs(verdict.skew) > _SKEWED and verdict.seeds > 5]
    if skewed:
        texts.append(("warn", say("skew_note", arms=comma.join(skewed))))
    failed = [f"{verdict.arm} ({verdict.failed})" for verdict in summary.verdicts.values() if verdict.failed]
    if failed:
        texts.append(("warn", say("failed_note", arms=comma.join(failed))))
    gains = [gain for gain in summary.pairing.values() if math.isfinite(gain)]
    if gains:
        gain = median(gains)
        key = "large_pair_note" if gain > _LARGE_GAIN else "pair_note" if gain >= 1.1 else "no_pair_note"
        texts.append(("plain", say(key, gain=f"{_LARGE_GAIN if gain > _LARGE_GAIN else gain:.{0 if gain > 20 else 1}f}")))
    needed = {effect: summary.seeds_for(effect) for effect in _EFFECTS}
    if all(needed.values()):
        texts.append(("plain", say("need_note", effects=" / ".join(map(str, needed)),
                                   seeds=" / ".join(map(str, needed.values())))))
    if summary.test is not None:
        test, verdict = summary.test, summary.test.verdict()
        low, high = (number(one, sign=True) if math.isfinite(one) else "?" for one in verdict.interval)
        texts.append(("plain", say("test_note", arm=test.arm, among=test.among, word=spoken(verdict, say),
                                   size=number(verdict.mean, sign=True), low=low, high=high, p=f"{verdict.p:.3f}")))
    elif len(summary.verdicts) > 1:
        texts.append(("plain", say("select_note" if plan.splits is None else "select_splits_note")))
    taus = [say("after epoch", tau=number(tau, 2, sign=True), epoch=epoch, share=round(100 * share))
            for epoch, tau, share in summary.study.milestones() if math.isfinite(tau)]
    if taus:
        texts.append(("plain", say("epochs_note", arms=len(plan.arms), taus=say.punctuation.clauses.join(taus))))
    if summary.cheaper is not None:
        texts.append(_cheaper(summary.study, summary.cheaper, say))
    return texts


def _host_warnings(plan: Plan) -> list[str]:
    """Return the host's warnings about the train arguments, such as Mosaic that is off in every epoch.

    None if the host is not installed here, or has other versions than the study's, whose rules may differ.
    """
    with suppress(GraftError):
        here = load_host(plan.host).versions()
        if all(here.get(name) == version for name, version in plan.versions.items() if name == "ultralytics"):
            return host_warnings(plan)
    return []


def _look_notes(summary: Summary, say: Translator) -> list[tuple[str, str]]:
    """Return the notes on the looks of the study and on the other studies of its data."""
    study, texts = summary.study, list[tuple[str, str]]()
    plan, taken, comma = study.plan, study.taken, say.punctuation.items
    if len(plan.schedule) > 1:
        texts.append(("plain", say("looks_note", taken=comma.join(str(look.seeds) for look in taken) or "–",
                                   planned=comma.join(str(look.seeds) for look in plan.schedule),
                                   used=f"{100 * study.spent:.1f}", alpha=f"{100 * plan.alpha:.1f}")))
    if taken and taken[-1].spent >= plan.alpha and any(look.spent >= plan.alpha for look in taken[:-1]):
        texts.append(("warn", say("added_note")))
    earlier = plan.registered.get("earlier", 0)
    if earlier:
        words = say.punctuation.semicolon.join(
            one.arm + say.punctuation.colon + say(str(one.word), margin=f"{one.margin or 0:g}")
            for one in study.shared_verdicts)
        texts.append(("warn", say("register_note", number=earlier + 1, alpha=f"{100 * plan.shared_alpha:.1f}", words=words)))
    return texts


def _cheaper(study: Study, other: Study, say: Translator) -> tuple[str, str]:
    """Return the note on a cheaper study of the same arms: its rank agreement, and its share of the time."""
    theirs, arms = other.scores(study.plan.metric), [arm for arm, by in study.scores().items() if by]
    shared = [arm for arm in arms if theirs.get(arm)]
    tau = study.agreement(other)
    if not math.isfinite(tau):
        known = ", ".join(arm for arm, by in theirs.items() if by) or "none"
        raise GraftError(tr("cheaper={folder} cannot be compared: both studies need results of at least three common "
                            "arms with different means. It has: {known}. This study has: {arms}.", folder=other.folder,
                            known=known, arms=", ".join(arms) or "-"))
    settings = [one.plan.settings for one in (other, study)]
    differ = [f"{key} {settings[0].get(key)} / {settings[1].get(key)}" for key in dict.fromkeys([*settings[1], *settings[0]])
              if settings[0].get(key) != settings[1].get(key)]
    times = [mean(result.costs.get("seconds", 0.0) for arm in shared for result in one.results[arm].values())
             for one in (other, study)]
    if all(times):
        differ.append(say("cheaper time", share=f"{100 * times[0] / times[1]:.0f}"))
    return "plain", say("cheaper_note", name=other.folder.resolve().name, arms=len(shared), tau=number(tau, 2, sign=True),
                        differ=say.punctuation.clauses.join(differ))


def protocol(summary: Summary, say: Translator) -> list[str]:
    """Return sentences on how the latencies were measured; empty if they were not."""
    found = summary.latency
    if found is None:
        return [say("old_latency_note")] if summary.has_old_latency else []
    one = found.protocol
    texts = [say("protocol", batch=one.batch, imgsz=one.imgsz, device=one.device, threads=one.threads,
                 precision=one.precision, nms=say("with nms" if one.nms else "without nms"), torch=one.torch,
                 repeats=one.repeats, warm_up=one.warm_up)]
    if one.is_busy:
        texts.append(say("protocol_busy", share=round(100 * one.busy)))
    if equal := [say.punctuation.items.join(timed.arms) for timed in found.networks if len(timed.arms) > 1]:
        texts.append(say("protocol_equal", arms=say.punctuation.semicolon.join(equal)))
    return texts


def _seconds(row: Row) -> float:
    """Return how long a trial took: by the storage, or by its own clock if it was restored from records."""
    return max(row.seconds, row.result.costs.get("seconds", 0.0) if row.result is not None else 0.0)


def _change(value: float) -> str:
    """Format a change of a count, such as `+8,464`; no sign for 0."""
    return f"{value:+,.0f}".replace("-", "−") if round(value) else "0"


def _duration(say: Translator, seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return say("hours", hours=hours, minutes=minutes)
    return say("minutes", minutes=minutes, seconds=whole % 60) if minutes else say("short time", seconds=seconds)
