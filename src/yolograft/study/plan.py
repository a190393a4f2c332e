"""The plan: arms x seeds under one set of train arguments, as words, as YAML, and as a list of trials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from yolograft import __version__
from yolograft.atomic import atomic_write
from yolograft.errors import DataError, GraftError, SpecError, nearest
from yolograft.study.arms import Arm, parse_arms, read_value
from yolograft.study.race import seeds_to_race
from yolograft.study.trial import Host, Trial, host_name, load_host

__all__ = ["Arm", "Plan", "read_words", "train_arguments"]

METRICS = ("mAP50-95", "mAP50", "precision", "recall", "accuracy", "fitness")
_OWN = ("arms", "seeds", "metric", "baseline", "host", "race")
_RECORDS = ("pictures", "fingerprints", "versions", "hardware", "spelled", "command", "yolograft")
_HOST = "ultralytics"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a study will run, and everything needed to run it again.

    Attributes:
        arms: what is compared.
        seeds: one run of every arm for each.
        settings: train arguments that all arms share, `model` and `data` among them.
        metric: what the verdict is about; chosen before the study, since a choice after it is one more
            selection.
        baseline: the name of the arm that the others are compared with.
        host: the name of the module that trains (see `trial.load_host`).
        race: whether arms that can hardly win any more get no further seeds (see `race`); once true it is on record.
        spelled: arm -> its graft with every setting spelled, so that a changed default is noticed.
        pictures, fingerprints, versions, hardware: what the study was begun with.
    """

    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    settings: Mapping[str, Any]
    metric: str = "mAP50-95"
    baseline: str = "none"
    host: str = _HOST
    race: bool = False
    spelled: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, str] = field(default_factory=dict)
    fingerprints: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, words: Mapping[str, Any]) -> Plan:
        """Read a plan from keys and values, from a command line or a YAML file, and check it.

        Whatever is not the study's own (arms, seeds, metric, baseline, host) is a train argument for all
        arms.

        Raises:
            GraftError: something is unknown, missing or twice there; the message names it.
        """
        plan = cls._understand(words, recorded=False)
        host = load_host(plan.host)
        for arm in plan.arms:
            both = {**plan.settings, **arm.settings}
            _check(host, arm, both)
        plan = replace(
            plan, spelled={arm.name: host.spell(arm.graft) for arm in plan.arms}, hardware=host.hardware(),
            fingerprints={arm.name: host.fingerprints({**plan.settings, **arm.settings})
                          for arm in plan.arms},
            pictures=host.pictures(plan.settings), versions={"yolograft": __version__, **host.versions()})
        plan.compare(words)
        return plan

    @classmethod
    def _understand(cls, words: Mapping[str, Any], *, recorded: bool) -> Plan:
        own = {key: value for key, value in words.items() if key in _OWN}
        settings = train_arguments(words)
        for needed, example in (("data", "data=NEU-DET.yaml"), ("model", "model=yolo11n.pt")):
            if not settings.get(needed):
                raise SpecError(f"The study names no {needed}. Say, for instance: {example}")
        if "seed" in settings:
            raise SpecError(f"A study has seeds, not one seed: write seeds={settings['seed']} or seeds=6.")
        if not own.get("arms"):
            raise SpecError('The study names no arms. Say, for instance: arms="none; se@8; cbam@8"')
        named = host_name(str(own.get("host") or _HOST))
        metric = str(own.get("metric") or "mAP50-95")
        if metric not in METRICS:
            raise SpecError(f"No metric is named '{metric}'.{nearest(metric, METRICS)} Known: "
                            f"{', '.join(METRICS)}.")
        host = None if recorded else load_host(named)
        settings = {**getattr(host, "DEFAULTS", {}), **settings}  # spelled out, so that a new default asks a new question
        arms = parse_arms(own["arms"], host, model=str(settings["model"]))
        arms, baseline = _with_baseline(arms, own.get("baseline"))
        race = own.get("race", False)
        race = read_value(race) if isinstance(race, str) else race
        if not isinstance(race, bool):
            raise SpecError(f"race={race} must be True or False.")
        seeds = _seeds(own.get("seeds", 6))
        if race and not recorded and len(seeds) < seeds_to_race(len(arms) - 1):
            raise SpecError(f"A race of {len(arms) - 1} arms over {len(seeds)} seeds has no winner: with Holm's correction "
                            f"no arm can reach p <= 0.05. Say seeds={seeds_to_race(len(arms) - 1)} or more, or race=False.")
        return cls(arms=arms, seeds=seeds, settings=settings, metric=metric, baseline=baseline, host=named, race=race)

    @classmethod
    def read(cls, path: str | Path, *, recorded: bool = False) -> Plan:
        """Read a plan from YAML: hand-written, or written by an earlier run with what it was begun with.

        With `recorded`, an earlier run's plan is taken at its word: what it names need not be on this
        machine.
        """
        words = read_words(Path(path))
        return cls.recorded(words) if recorded else cls.of(words)

    @classmethod
    def recorded(cls, words: Mapping[str, Any]) -> Plan:
        """Return the plan that an earlier run recorded, without a check of whether it can run here."""
        return replace(cls._understand(words, recorded=True), spelled=words.get("spelled") or {},
                       pictures=words.get("pictures") or {},
                       fingerprints=words.get("fingerprints") or {}, versions=words.get("versions") or {},
                       hardware=words.get("hardware") or {})

    def write(self, path: Path) -> None:
        """Write the plan as YAML for `read`: with what each arm means in full, and what it ran on."""
        text = self.text()
        atomic_write(path, lambda part: part.write_text(text, encoding="utf-8"))

    def text(self) -> str:
        """Return the plan as the YAML that `write` writes."""
        return ("# A study's plan. Run it again: yolograft study plan.yaml\n"
                + yaml.safe_dump(self.words(), sort_keys=False, allow_unicode=True, width=110))

    def words(self) -> dict[str, Any]:
        """Return the plan as `of` takes it, with the record of what it was begun with."""
        return {
            **{key: _plain(value) for key, value in self.settings.items()},
            "arms": [arm.name for arm in self.arms], "seeds": list(self.seeds), "metric": self.metric,
            "baseline": self.baseline, "host": self.host, "race": self.race,
            "spelled": dict(self.spelled), "pictures": dict(self.pictures),
            "fingerprints": {arm: dict(found) for arm, found in self.fingerprints.items()},
            "versions": dict(self.versions), "hardware": dict(self.hardware),
        }

    def trials(self) -> list[Trial]:
        """Return every trial, seed by seed: a study stopped at any moment has many pairs."""
        return list(self._trials)

    @cached_property
    def _trials(self) -> tuple[Trial, ...]:
        return tuple(self.trial(arm, seed) for seed in self.seeds for arm in self.arms)

    def trial(self, arm: Arm, seed: int) -> Trial:
        """Return the trial of one arm with one seed."""
        settings = {key: _plain(value) for key, value in {**self.settings, **arm.settings}.items()}
        return Trial(arm=arm.name, graft=self.spelled[arm.name], control=arm.control, seed=seed,
                     settings=settings, fingerprints=self.fingerprints[arm.name], versions=self.versions,
                     host=self.host)

    def with_seeds(self, seeds: Sequence[int]) -> Plan:
        """Return this plan with other seeds."""
        return replace(self, seeds=tuple(seeds))

    def compare(self, words: Mapping[str, Any]) -> None:
        """Refuse to take up a recorded plan whose versions, defaults or data are not what they were."""
        prints = words.get("fingerprints") or {}
        pairs: list[tuple[str, Mapping[str, str], Mapping[str, str]]] = [
            ("other versions", words.get("versions") or {}, self.versions),
            ("other defaults", {arm: text for arm, text in (words.get("spelled") or {}).items()
                                if arm in self.spelled}, self.spelled),
            *(("other data or weights", prints.get(arm) or {}, now)
              for arm, now in self.fingerprints.items()),
        ]
        for noun, then, now in pairs:
            changed = [f"{key}: {was} then, {now.get(key)} now" for key, was in then.items()
                       if was != now.get(key)]
            if changed:
                raise DataError(f"This study was begun with {noun} ({'; '.join(changed)}). Its runs cannot "
                                "be compared with new ones. Restore what it was begun with, or begin a new "
                                "study in another folder.")


def read_words(path: Path) -> dict[str, Any]:
    """Read the keys and values of a plan's file; raises `DataError`."""
    try:
        words = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"There is no plan '{path}'.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"The plan '{path}' cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise DataError(f"The plan '{path}' is not YAML: {error}") from None
    if not isinstance(words, dict):
        raise DataError(f"The plan '{path}' must have lines such as 'data: NEU-DET.yaml' and 'arms: "
                        "none; se@8'.")
    return {str(key): value for key, value in words.items()}


def train_arguments(words: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is not the study's own: the train arguments that all arms share, `model` and `data` among them."""
    return {str(key): read_value(value) if isinstance(value, str) else value
            for key, value in words.items() if key not in _OWN and key not in _RECORDS}


def _check(host: Host, arm: Arm, settings: Mapping[str, Any]) -> None:
    try:
        host.check(str(settings["model"]), arm.graft, settings, arm.control)
    except GraftError as error:
        if "model" not in arm.settings:
            raise
        # the study's own model was opened: it is this arm's other one that is wanting
        why = str(error).partition(" Did you mean")[0].strip()  # what is near is the study's own model, which is not meant
        raise type(error)(f"The arm '{arm.name}' trains another model, {settings['model']}, which must be there before the "
                          f"study begins. {why} Put that file there, write the arm out with another one "
                          "('none model=PATH'), or leave the arm out.") from error


def _with_baseline(arms: tuple[Arm, ...], asked: str | None) -> tuple[tuple[Arm, ...], str]:
    names = [arm.name for arm in arms]
    if asked is not None and asked not in names:
        if asked != "none":
            raise SpecError(f"The baseline '{asked}' is not an arm.{nearest(asked, names)} Arms: "
                            f"{'; '.join(names)}.")
        asked = None
    if asked is not None:
        return arms, asked
    bare = next((arm.name for arm in arms if arm.bare), None)
    if bare is not None:
        return arms, bare
    return (Arm(name="none"), *arms), "none"  # a comparison needs something to compare with


def _seeds(value: Any) -> tuple[int, ...]:
    """Read a number of seeds (6 is 0 to 5) or a list of them."""
    raw = read_value(value) if isinstance(value, str) else value
    if isinstance(raw, str):
        raw = [read_value(piece) for piece in raw.split(",")]
    if isinstance(raw, int) and not isinstance(raw, bool):
        raw = list(range(raw))
    whole = isinstance(raw, (list, tuple)) and all(type(seed) is int and 0 <= seed < 2**31 for seed in raw)
    if not whole or not raw or len(set(raw)) < len(raw):
        raise SpecError(f"seeds={value} must be a number of seeds, such as 6, or different seeds, such as "
                        "0,1,2.")
    return tuple(raw)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
