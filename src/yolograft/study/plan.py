"""The plan of a study: arms, seeds and train arguments; read from a command line or YAML, and expanded to trials."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import yaml

from yolograft import __version__, yaml_text
from yolograft.atomic import atomic_write
from yolograft.errors import DataError, GraftError, SpecError, nearest
from yolograft.language import tr
from yolograft.study.arms import Arm, parse_arms, raise_all, read_value
from yolograft.study.data_sets import check_arms, check_sets, join, labels, part_of, read_data
from yolograft.study.model_yaml import ModelYaml, digest, read_yaml, recorded_yamls
from yolograft.study.plan_record import MAX_SEEDS, check_fields
from yolograft.study.race import seeds_to_race
from yolograft.study.resplit import check_splits, measured, read_splits
from yolograft.study.sequential import Look, spend
from yolograft.study.splits import Splits
from yolograft.study.trial import Host, Trial, host_name, load_host
from yolograft.study.verdict import ALPHA, MARGIN

__all__ = ["Arm", "Plan", "read_record", "read_words", "restorable", "train_arguments"]

METRICS = ("mAP50-95", "mAP50", "precision", "recall", "accuracy", "fitness")
_STUDY_KEYS = ("arms", "seeds", "metric", "baseline", "host", "race", "looks", "margin", "register", "splits", "split_seed")
_RECORD_KEYS = ("taken", "seen", "split_sizes", "registered", "yamls", "pictures", "fingerprints", "versions", "hardware",
                "spelled", "command", "yolograft")
_HOST = "ultralytics"
_SPAN = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is needed to run a study, and to run it again.

    Attributes:
        arms: the configurations that are compared.
        seeds: every arm is trained once with each seed.
        settings: train arguments of all arms, `model` and `data` included.
        metric: the metric that is tested. It is fixed before the study, since choosing it afterwards is a further selection,
            which the error rate does not include.
        baseline: the name of the arm that the others are compared with.
        host: the stored name of the host (see `trial.load_host`).
        race: whether arms that can hardly win are stopped early (see `race`); once true, it stays true in the record.
        looks: numbers of seeds after which verdicts are given (see `sequential`); empty for one look after all seeds.
        margin: the largest difference of the metric that counts as none; None in plans of version 0.1.0, which had none.
        register: whether the study shares its error rate with this user's other studies of the same data (see `register`).
        splits: the splits of the images of train and val (see `splits`); None for the split of the data set.
        taken: the looks that were taken.
        seen: the error rate that looks at other seeds have used, of studies that were merged into this one.
        registered: of a study in the register: its `id`, the error rate `alpha` that the others have left, and the number of
            `earlier` studies of the same data and model.
        spelled: arm -> its graft with all settings written out, so that a changed default is detected.
        pictures, fingerprints, versions, hardware: description of the data, file hashes, package versions and machine
            at the start of the study.
        yamls: the model YAMLs of arms: name -> file and text.
        notes: sentences for the user about the arms; not recorded.
        label: of the plan on one of several data sets: the short name of this one; not recorded.
    """

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    metric: str = "mAP50-95"
    baseline: str = "none"
    host: str = _HOST
    race: bool = False
    looks: tuple[int, ...] = ()
    margin: float | None = None
    register: bool = True
    splits: Splits | None = None
    taken: tuple[Look, ...] = ()
    seen: float = 0.0
    registered: Mapping[str, Any] = field(default_factory=dict)
    spelled: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, str] = field(default_factory=dict)
    yamls: Mapping[str, ModelYaml] = field(default_factory=dict)
    notes: tuple[str, ...] = field(default=(), compare=False)
    label: str = field(default="", compare=False)

    @classmethod
    def of(cls, words: Mapping[str, Any], folder: Path | None = None) -> Plan:
        """Read a plan from the keys and values of a command line or a YAML file, and check it.

        All keys except those of the study (arms, seeds, looks, margin, metric, baseline, host, race, register) are train
        arguments of all arms.

        Args:
            words: the keys and values.
            folder: the study's folder. If it has a plan, the model YAMLs that this plan records need no files.

        Raises:
            GraftError: a key or value is unknown, missing or duplicated; the message names it, and every wrong arm.
        """
        plan = cls._parse(words, recorded=False)
        host = load_host(plan.host)
        record = folder / "plan.yaml" if folder is not None else None
        recorded = {**recorded_yamls(words), **(recorded_yamls(read_record(record)) if record and record.exists() else {})}
        yamls: dict[str, ModelYaml] = {}
        spelled: dict[str, str] = {}
        notes: list[str] = []
        wrong: dict[str, GraftError] = {}
        check_arms(plan.arms, sets=len(plan.datasets), splits=plan.splits is not None)
        for arm, part in ((arm, part) for arm in plan.arms for part in plan.parts):
            both = {**part.settings, **arm.settings}
            try:
                if not arm.yaml:
                    _check(host, arm, both, str(plan.settings["model"]))
                    spelled[arm.name] = host.spell(arm.graft)
                    continue
                if arm.yaml not in yamls:
                    yamls[arm.yaml] = read_yaml(arm, host, plan.host, recorded.get(arm.yaml))
                _check(host, replace(arm, graft="none", control=""), both, str(plan.settings["model"]))
                one, rehearse = yamls[arm.yaml], cast(Any, host).rehearse_yaml
                spelled[arm.name], lines = rehearse(one.text, arm.file or one.file, arm.graft, both, arm.control)
                notes += lines
            except GraftError as error:
                wrong[arm.name] = error
        raise_all(wrong)
        plan = replace(
            plan, splits=measured(plan.splits, host, plan.settings), spelled=spelled, hardware=host.hardware(), yamls=yamls,
            notes=tuple(dict.fromkeys(notes)),
            fingerprints={arm.name: {**_fingerprints(host, plan, arm),
                                     **({"yaml": digest(yamls[arm.yaml].text)} if arm.yaml else {})}
                          for arm in plan.arms},
            pictures={f"{key}{f' of {part.dataset}' if len(plan.parts) > 1 else ''}": text for part in plan.parts
                      for key, text in host.pictures(part.settings).items()},
            versions={"yolograft": __version__, **host.versions()})
        _check_different(plan)
        plan.compare(words)
        return plan

    @classmethod
    def _parse(cls, words: Mapping[str, Any], *, recorded: bool) -> Plan:
        check_fields(words)
        study_keys = {key: value for key, value in words.items() if key in _STUDY_KEYS}
        settings = train_arguments(words, recorded=recorded)
        for needed, example in (("data", "data=NEU-DET.yaml"), ("model", "model=yolo11n.pt")):
            if not settings.get(needed):
                raise SpecError(tr("The study names no {needed}. Add for example: {example}", needed=needed,
                                   example=example))
        if "seed" in settings:
            raise SpecError(tr("A study has seeds, not one seed: write seeds={seed} or seeds=6.", seed=settings["seed"]))
        if not study_keys.get("arms"):
            raise SpecError(tr("The study names no arms. Add for example: arms=\"none; se@8; cbam@8\""))
        host_key = host_name(str(study_keys.get("host") or _HOST))
        metric = str(study_keys.get("metric") or "mAP50-95")
        if metric not in METRICS:
            raise SpecError(tr("No metric is named '{metric}'.{nearest} Known: {metrics}.", metric=metric,
                               nearest=nearest(metric, METRICS), metrics=", ".join(METRICS)))
        host = None if recorded else load_host(host_key)
        load_files: Any = getattr(host, "load_files", None)
        if load_files is not None:
            settings = load_files(settings)
        # stored with every trial, so that a changed default gives new trials
        settings = {**getattr(host, "DEFAULTS", {}), **settings}
        arms = parse_arms(study_keys["arms"], host, model=str(settings["model"]))
        arms, baseline = _with_baseline(arms, study_keys.get("baseline"))
        race, register = (_flag(key, study_keys.get(key, default)) for key, default in (("race", False), ("register", True)))
        splits = read_splits(study_keys.get("splits"), study_keys.get("split_seed"), words.get("split_sizes"))
        number = splits.count if splits and study_keys.get("looks") is None else None  # by default one seed on each split
        seeds, looks = _seeds_and_looks(study_keys.get("seeds", number), study_keys.get("looks"))
        if splits is not None:
            check_splits(splits, seeds, looks=looks, race=race, settings=settings)
        check_sets(settings["data"], race=race, splits=splits is not None)
        if race and looks:
            raise SpecError(tr("race=True has one look, after the last seed: leave out looks={looks}, or race.",
                               looks=",".join(map(str, looks))))
        if race and not recorded and len(seeds) < seeds_to_race(len(arms) - 1):
            raise SpecError(tr("A race of {arms} arms over {seeds} seeds cannot have a winner: with Holm's "
                               "correction no arm can reach p <= 0.05. Use seeds={need} or more, or "
                               "race=False.", arms=len(arms) - 1, seeds=len(seeds),
                               need=seeds_to_race(len(arms) - 1)))
        return cls(arms=arms, seeds=seeds, settings=settings, metric=metric, baseline=baseline, host=host_key, race=race,
                   looks=looks, register=register, splits=splits,
                   margin=_margin(study_keys.get("margin", None if recorded else MARGIN)))

    @classmethod
    def read(cls, path: str | Path, *, recorded: bool = False) -> Plan:
        """Read a plan from a YAML file, written by hand or by an earlier run.

        With `recorded`, the plan of an earlier run is read without checks: its data and weights need not be on this
        machine.
        """
        words = read_words(Path(path))
        return cls.recorded(words) if recorded else cls.of(words)

    @classmethod
    def recorded(cls, words: Mapping[str, Any]) -> Plan:
        """Return the plan that an earlier run recorded, without checking that it can run on this machine."""
        plan = cls._parse(words, recorded=True)
        return replace(plan, taken=tuple(Look(seeds=one["seeds"], arms=tuple(one["arms"]), spent=one["spent"])
                                         for one in words.get("taken") or ()),
                       seen=float(words.get("seen") or 0.0), registered=words.get("registered") or {},
                       spelled=words.get("spelled") or {}, pictures=words.get("pictures") or {},
                       fingerprints=words.get("fingerprints") or {}, versions=words.get("versions") or {},
                       hardware=words.get("hardware") or {}, yamls=recorded_yamls(words))

    def write(self, path: Path) -> None:
        """Write the plan as YAML for `read`, with the settings of each arm written out, versions and hardware."""
        text = self.text()
        atomic_write(path, lambda part: part.write_text(text, encoding="utf-8"))

    def text(self) -> str:
        """Return the plan as YAML text."""
        return ("# A study's plan. Run it again: yolograft study plan.yaml\n"
                + yaml.dump(self.words(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))

    def words(self) -> dict[str, Any]:
        """Return the plan as keys and values for `of`, with the recorded hashes, versions and hardware."""
        return {
            **{key: _plain(value) for key, value in self.settings.items()},
            "arms": [arm.name for arm in self.arms], "seeds": list(self.seeds), "metric": self.metric,
            "baseline": self.baseline, "host": self.host, "race": self.race,
            **({"looks": list(self.looks)} if self.looks else {}),
            **({"margin": self.margin} if self.margin is not None else {}), **({} if self.register else {"register": False}),
            **({"splits": self.splits.count, "split_seed": self.splits.seed,
                "split_sizes": [self.splits.train, self.splits.val]} if self.splits else {}),
            **({"taken": [{"seeds": look.seeds, "arms": list(look.arms), "spent": look.spent} for look in self.taken]}
               if self.taken else {}),
            **({"seen": self.seen} if self.seen else {}),
            **({"registered": dict(self.registered)} if self.registered else {}),
            **({"yamls": {name: {"file": one.file, "text": one.text} for name, one in self.yamls.items()}}
               if self.yamls else {}),
            "spelled": dict(self.spelled), "pictures": dict(self.pictures),
            "fingerprints": {arm: dict(found) for arm, found in self.fingerprints.items()},
            "versions": dict(self.versions), "hardware": dict(self.hardware),
        }

    @property
    def alpha(self) -> float:
        """The error rate of the study's own verdicts, without what merged studies have used at looks of their own."""
        return max(0.0, ALPHA - self.seen)

    @property
    def shared_alpha(self) -> float:
        """What the earlier studies of the same data and model have left of the error rate (see `register`)."""
        return min(self.alpha, float(self.registered.get("alpha", ALPHA)))

    @property
    def copies(self) -> tuple[str, ...]:
        """The names of the arms that are copies of the baseline (`aa`), without those with train arguments of their own."""
        if not next(arm.bare for arm in self.arms if arm.name == self.baseline):
            return ()
        return tuple(arm.name for arm in self.arms if arm.role == "aa" and not arm.settings)

    @property
    def schedule(self) -> tuple[Look, ...]:
        """All looks: those that were taken, then those that are planned.

        Arms or seeds that were added after a look get looks of their own, which may spend what the earlier ones have left.
        """
        names = tuple(arm.name for arm in self.arms if arm.name != self.baseline)
        counts = tuple(dict.fromkeys([*self.looks, len(self.seeds)]))
        found = list(self.taken)
        done, spent = (found[-1].seeds, found[-1].spent) if found else (0, 0.0)
        tested = {arm for look in found if look.seeds == done for arm in look.arms}
        added = tuple(name for name in names if name not in tested)
        if found and added:
            found.append(Look(seeds=done, arms=added, spent=min(spent, self.alpha)))
        found += [Look(seeds=count, arms=names, spent=max(min(spent, self.alpha), share))
                  for count, share in zip(counts, spend(counts, self.alpha), strict=True) if count > done]
        return tuple(found)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data of the study: one data set, or several."""
        data = self.settings["data"]
        return tuple(map(str, data)) if isinstance(data, (list, tuple)) else (str(data),)

    @property
    def dataset(self) -> str:
        """The short name of the study's data set; empty for several."""
        return "" if len(self.datasets) > 1 else self.label or Path(self.datasets[0]).stem

    @cached_property
    def parts(self) -> tuple[Plan, ...]:
        """The plan on each of its data sets; the plan itself if it has one. Its trials are those of a study on one."""
        if len(self.datasets) < 2:
            return (self,)
        return tuple(replace(
            self, settings={**self.settings, "data": data}, label=label,
            fingerprints={arm: part_of(found, data) for arm, found in self.fingerprints.items()},
            pictures={key.removesuffix(f" of {label}"): text for key, text in self.pictures.items()
                      if key.endswith(f" of {label}")})
            for data, label in zip(self.datasets, labels(self.datasets), strict=True))

    def trials(self) -> list[Trial]:
        """Return all trials, ordered by seed, so that a study that stops early has as many complete pairs as possible."""
        return list(self._trials)

    @cached_property
    def _trials(self) -> tuple[Trial, ...]:
        return tuple(part.trial(arm, seed) for seed in self.seeds for part in self.parts for arm in self.arms)

    def trial(self, arm: Arm, seed: int) -> Trial:
        """Return the trial of one arm with one seed; raises `DataError` if the plan's record lacks the arm."""
        for key, known in (("spelled", self.spelled), ("fingerprints", self.fingerprints)):
            if arm.name not in known:
                raise DataError(tr("The plan's record has no arm '{arm}' under `{key}`. Was it changed by hand? Undo the "
                                   "edit, or start a new study.", arm=arm.name, key=key))
        if arm.yaml and arm.yaml not in self.yamls:
            raise DataError(tr("The plan's record has no arm '{arm}' under `{key}`. Was it changed by hand? Undo the "
                               "edit, or start a new study.", arm=arm.yaml, key="yamls"))
        settings = {key: _plain(value) for key, value in {**self.settings, **arm.settings}.items()}
        if self.splits is not None:
            settings["split"] = {"number": self.seeds.index(seed) % self.splits.count, "seed": self.splits.seed}
        return Trial(arm=arm.name, graft=self.spelled[arm.name], control=arm.control, seed=seed,
                     settings=settings, fingerprints=self.fingerprints[arm.name], versions=self.versions,
                     host=self.host, yaml=self.yamls[arm.yaml].text if arm.yaml else "", yaml_name=arm.yaml)

    def compare(self, words: Mapping[str, Any]) -> None:
        """Compare this plan with a recorded one; raises `DataError` if versions, defaults, data or weights have changed."""
        fingerprints = words.get("fingerprints") or {}
        pairs: list[tuple[str, Mapping[str, str], Mapping[str, str]]] = [
            (tr("other versions"), words.get("versions") or {}, self.versions),
            (tr("other defaults"), {arm: text for arm, text in (words.get("spelled") or {}).items()
                                if arm in self.spelled}, self.spelled),
            *((tr("other data or weights"), fingerprints.get(arm) or {}, now)
              for arm, now in self.fingerprints.items()),
        ]
        for noun, then, now in pairs:
            changed = [tr("{key}: {then} then, {now} now", key=key, then=was, now=now.get(key)) for key, was in then.items()
                       if was != now.get(key)]
            if changed:
                raise DataError(tr("This study was started with {noun} ({changed}). Its runs cannot be compared with "
                                   "new ones. Restore the recorded state, or start a new study in another folder.",
                                   noun=noun, changed="; ".join(changed)))


def read_words(path: Path) -> dict[str, Any]:
    """Read the keys and values of a plan file; raises `DataError` if it is missing or no YAML mapping."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(tr("The plan '{path}' does not exist.", path=path)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(tr("The plan '{path}' cannot be read: {error}", path=path, error=error)) from None
    words = yaml_text.parse(text, path)
    if not isinstance(words, dict):
        raise DataError(tr("The plan '{path}' must have lines such as 'data: NEU-DET.yaml' and 'arms: none; se@8'.",
                           path=path))
    return {str(key): value for key, value in words.items()}


def read_record(path: Path) -> dict[str, Any]:
    """Read the plan that a study has recorded in its folder; the error for a damaged one says how to restore it."""
    with restorable(path):
        return read_words(path)


@contextmanager
def restorable(path: Path) -> Iterator[None]:
    """Context manager: an error of a recorded plan says that study.db, if there is one, has a copy of it."""
    try:
        yield
    except GraftError as error:
        if not path.with_name("study.db").exists():
            raise
        raise DataError(tr("{error}\nIf the file is damaged, move it to another folder and start the study again: the plan "
                           "is restored from study.db.", error=error)) from error


def train_arguments(words: Mapping[str, Any], *, recorded: bool = False) -> dict[str, Any]:
    """Return the train arguments of all arms, `model` and `data` included: all keys that are not keys of the study.

    `data` is a list if it names several data sets. A recorded text is one name, also if it has a comma.
    """
    found = {str(key): read_value(value) if isinstance(value, str) else value
             for key, value in words.items() if key not in _STUDY_KEYS and key not in _RECORD_KEYS}
    if found.get("data"):
        found["data"] = read_data(found["data"], recorded=recorded)
    return found


class _Dumper(yaml.SafeDumper):
    """Writes a text with several lines, such as that of a model YAML, as lines."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)


def _check_different(plan: Plan) -> None:
    """Raise `GraftError` if two arms train the same, such as two copies of one model YAML."""
    names: dict[str, str] = {}
    for arm in plan.arms if plan.yamls else ():
        key = plan.parts[0].trial(arm, plan.seeds[0]).key
        if key in names:
            raise GraftError(tr("The arms '{seen}' and '{name}' are the same: their model YAMLs, grafts and train arguments "
                                "are equal. To measure how much two equal configurations differ, add the arm 'aa'.",
                                seen=names[key], name=arm.name))
        names[key] = arm.name


def _fingerprints(host: Host, plan: Plan, arm: Arm) -> Mapping[str, str]:
    settings = {**plan.settings, **arm.settings}
    if len(plan.datasets) < 2:
        return host.fingerprints(settings)
    return join([(data, host.fingerprints({**settings, "data": data})) for data in plan.datasets])


def _check(host: Host, arm: Arm, settings: Mapping[str, Any], model: str) -> None:
    try:
        host.check(str(settings["model"]), arm.graft, settings, arm.control)
    except GraftError as error:
        if "model" not in arm.settings:
            raise
        useless = tr(" Did you mean '{name}'?", name=Path(model).name)  # the model of the study
        why = str(error).replace(useless, "").strip()
        raise type(error)(tr("The arm '{arm}' trains another model, {model}, which must exist before the study "
                             "starts. {why} Add that file, name another model in the arm ('none model=PATH'), or "
                             "remove the arm.", arm=arm.name, model=settings["model"], why=why)) from error


def _with_baseline(arms: tuple[Arm, ...], requested: str | None) -> tuple[tuple[Arm, ...], str]:
    names = [arm.name for arm in arms]
    if requested is not None and requested not in names:
        if requested != "none":
            raise SpecError(tr("The baseline '{requested}' is not an arm.{nearest} Arms: {names}.", requested=requested,
                               nearest=nearest(requested, names), names="; ".join(names)))
        requested = None
    if requested is not None:
        return arms, requested
    bare = next((arm.name for arm in arms if arm.bare), None)
    if bare is not None:
        return arms, bare
    return (Arm(name="none"), *arms), "none"  # every study needs a baseline


def _flag(key: str, value: Any) -> bool:
    read = read_value(value) if isinstance(value, str) else value
    if not isinstance(read, bool):
        raise SpecError(tr("{key}={value} must be True or False.", key=key, value=value))
    return read


def _margin(value: Any) -> float | None:
    read = read_value(value) if isinstance(value, str) else value
    if read is None or read is False:
        return None
    if isinstance(read, bool) or not isinstance(read, (int, float)) or not 0 < read < 1:
        raise SpecError(tr("margin={value} must be the largest difference of the metric that counts as none, such as "
                           "margin=0.01, or None.", value=value))
    return float(read)


def _numbers(value: Any) -> Any:
    """Parse `6..12`, a list with commas, or one value."""
    raw = read_value(value) if isinstance(value, str) else value
    if isinstance(raw, str) and (span := _SPAN.fullmatch(raw.strip())):
        if not all(len(one) < 10 and int(one) <= MAX_SEEDS for one in span.groups()):
            return raw  # which is no list of numbers
        return list(range(int(span[1]), int(span[2]) + 1))
    if isinstance(raw, str):
        return [read_value(piece) for piece in raw.split(",")]
    return list(raw) if isinstance(raw, (list, tuple)) else raw


def _seeds_and_looks(seeds: Any, looks: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Parse the seeds, and the looks at them: `seeds=6..12` has a look after each number of seeds from 6 to 12."""
    if isinstance(seeds, str) and _SPAN.fullmatch(seeds.strip()):
        if looks is not None:
            raise SpecError(tr("seeds={seeds} is a look after each of these numbers of seeds: leave out looks=, or write "
                               "seeds={last}.", seeds=seeds, last=seeds.split("..")[-1]))
        spanned = _numbers(seeds)
        if not isinstance(spanned, list) or not spanned:
            raise SpecError(tr("seeds={value} must be a number of seeds, such as 6, or different seeds, such as 0,1,2.",
                               value=seeds))
        looks, seeds = spanned, spanned[-1]
    counts: Any = _numbers(looks) if looks is not None else []
    counts = [counts] if isinstance(counts, int) and not isinstance(counts, bool) else counts
    whole = isinstance(counts, list) and all(type(one) is int and one > 0 for one in counts)
    if not whole or counts != sorted(set(counts)):
        raise SpecError(tr("looks={value} must be increasing numbers of seeds, such as looks=6,8,10,12.", value=looks))
    found = _seeds(seeds if seeds is not None else max(counts, default=6))
    if counts and counts[-1] > len(found):
        raise SpecError(tr("looks={value}: a look after {last} seeds needs as many seeds, and the study has {seeds}.",
                           value=looks, last=counts[-1], seeds=len(found)))
    counts += [len(found)] if counts and counts[-1] < len(found) else []
    return found, tuple(counts) if len(counts) > 1 else ()


def _seeds(value: Any) -> tuple[int, ...]:
    """Parse a number of seeds (6 means 0 to 5) or a list of seeds."""
    raw: Any = _numbers(value)
    if isinstance(raw, int) and not isinstance(raw, bool) and raw <= MAX_SEEDS:
        raw = list(range(raw))
    whole: bool = isinstance(raw, list) and all(type(seed) is int and 0 <= seed < 2**31 for seed in raw)
    if not whole or not raw or len(set(raw)) < len(raw):
        raise SpecError(tr("seeds={value} must be a number of seeds, such as 6, or different seeds, such as 0,1,2.",
                           value=value))
    return tuple(raw)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
