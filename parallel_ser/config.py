"""All settings of a run: read from YAML, overridden by ``key=value``, written back in full."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError, model_validator

from parallel_ser import yaml_text
from parallel_ser.audio.settings import AudioSettings, FeatureSettings, FunctionalSettings
from parallel_ser.classical.settings import ClassicalSettings
from parallel_ser.config_errors import Sources, explain, group_of, settings_called
from parallel_ser.corpora.registry import recognise
from parallel_ser.corpora.settings import CorpusSettings, SplitSettings
from parallel_ser.errors import UserError
from parallel_ser.models.registry import models
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.parallel.strategies.registry import descriptor_of
from parallel_ser.settings import Settings
from parallel_ser.system.files import plain
from parallel_ser.training.settings import RunSettings, TrainSettings


class Config(Settings):
    """Everything that decides a run; the validator sees what no group can see by itself."""

    corpus: CorpusSettings = CorpusSettings()
    split: SplitSettings = SplitSettings()
    audio: AudioSettings = AudioSettings()
    features: FeatureSettings = FeatureSettings()
    functionals: FunctionalSettings = FunctionalSettings()
    classical: ClassicalSettings = ClassicalSettings()
    model: ModelSettings = ModelSettings()
    strategy: StrategySettings = StrategySettings()
    train: TrainSettings = TrainSettings()
    run: RunSettings = RunSettings()

    @property
    def corpora(self) -> str:
        """The names of all corpora: ``emodb+ravdess``, or ``ravdess tested on tess``."""
        return self.corpus.title + (f" tested on {self.split.test.title}" if self.split.test else "")

    @model_validator(mode="after")
    def _combination(self) -> Config:
        half = self.audio.sample_rate / 2
        if self.features.f_max > half:
            raise ValueError(
                f"features.f_max={self.features.f_max:g} lies above half of audio.sample_rate="
                f"{self.audio.sample_rate}; use {half:g} or less"
            )
        if self.audio.min_seconds >= self.audio.max_seconds:
            raise ValueError(
                f"audio.min_seconds={self.audio.min_seconds:g} must be below audio.max_seconds="
                f"{self.audio.max_seconds:g}"
            )
        parts = self.strategy.microbatches * self.strategy.data_parallel
        if descriptor_of(self.strategy.name).most != 1 and parts > self.train.batch:
            copies = self.strategy.data_parallel
            times = f" times strategy.data_parallel={copies}" if copies > 1 else ""
            raise ValueError(
                f"strategy.microbatches={self.strategy.microbatches}{times} "
                f"cannot exceed train.batch={self.train.batch}"
            )
        self._inputs()
        if self.split.protocol in ("emobox6", "luna5") and self.corpus.title != "ravdess":
            raise ValueError(
                f"split.protocol={self.split.protocol} is made of RAVDESS's actors; "
                f"use speaker for corpus.name={self.corpus.title}"
            )
        beside = self.model.beside
        if self.train.mixup and (beside.vocabulary or beside.xvectors):
            raise ValueError(
                f"train.mixup={self.train.mixup:g} mixes features, and model.name={self.model.name} reads what cannot "
                "be mixed beside them: use train.mixup=0"
            )
        return self

    def _inputs(self) -> None:
        """Refuse features that the model does not take."""
        streams = list(self.features.streams)
        if streams == ["encoder"]:
            defaults = models()[self.features.encoder.name].defaults
            for group, name in (("audio", "sample_rate"), ("features", "hop")):
                value, wanted = getattr(getattr(self, group), name), defaults[f"{group}.{name}"]
                if value != wanted:
                    raise ValueError(f"features.streams=[encoder] needs {group}.{name}={wanted:g}, not {value:g}")
        if self.model.file is not None:  # what it takes, it says itself
            self._alterations(streams == ["waveform"], f"model.file={self.model.file}")
            return
        model = models()[self.model.name]
        if bool(model.waveform) != (streams == ["waveform"]):
            those = [one.name for one in models().values() if one.waveform]
            if model.waveform:
                raise ValueError(f"model.name={model.name} takes features.streams=[waveform], not {streams}")
            raise ValueError(
                f"features.streams=[waveform] is what {', '.join(those)} take, not model.name={model.name}"
            )
        self._alterations(bool(model.waveform), f"model.name={model.name}")
        if not model.waveform:
            return
        for group, name, needed in (
            ("audio", "sample_rate", model.defaults["audio.sample_rate"]),
            ("features", "hop", model.defaults["features.hop"]),
            ("train", "normalise", "none"),
        ):
            if (value := getattr(getattr(self, group), name)) != needed:
                asked, given = (yaml_text.write({name: one}).strip().replace(": ", "=") for one in (needed, value))
                raise ValueError(f"model.name={model.name} takes the waveform and needs {group}.{asked}, not {given}")

    def _alterations(self, waveform: bool, network: str) -> None:
        """Refuse changes of the sound in training that nothing would make."""
        train = self.train
        changes = {
            "noise": train.noise is not None,
            "gain": train.gain > 0,
            "speed": train.speed > 0,
            "band": train.band is not None,
        }
        asked = next((name for name, one in changes.items() if one), None)
        if waveform:
            of_copies = {
                "copies": train.copies > 0,
                "tta_copies": train.tta_copies > 0,
                "speed": changes["speed"],
                "band": changes["band"],
            }
            wrong = next((name for name, one in of_copies.items() if one), None)
            if wrong:
                raise ValueError(
                    f"train.{wrong} is for features of frames, and {network} takes the waveform, which "
                    "train.noise, train.gain and train.warp (its speed) change in each batch"
                )
        elif asked and not train.copies and not train.tta_copies:
            raise ValueError(
                f"train.{asked} changes the sound, of which {network} sees features alone: with "
                "train.copies=3, say, training draws from altered copies of the recordings, and with "
                "train.tta_copies=3 an answer is the mean over them"
            )
        if train.band is not None and 2 * train.band > self.audio.sample_rate:
            raise ValueError(
                f"train.band={train.band:g} is above half of audio.sample_rate={self.audio.sample_rate}, where the "
                "band ends anyway"
            )


def load(config: Path | None, overrides: Sequence[str], base: Sequence[str] = ()) -> Config:
    """Return the settings of a YAML file (the defaults without one), changed by ``group.key=value`` overrides.

    ``base`` has other defaults, in the form of overrides, which the file and the overrides change; so has a model, see
    ``ModelDescriptor.defaults``.

    On the command line a text or a path is what stands behind ``=``, to the letter; other values are read as YAML:
    ``train.epochs=3``, ``split.only=[0,2]``. A group can be given at once, as what it changes:
    ``split.test={name: tess, root: data/tess}``. Nothing (``run.folder=``) is no value. The last override of a key
    holds. A relative path counts from the current directory, also one that stands in a file. A corpus that has a folder
    and no name gets the name that its files have; of ``corpus.also`` the folders are enough.

    >>> load(None, ["train.epochs=3"]).train.epochs
    3

    Raises:
        UserError: the file cannot be read or is not YAML; a key is unknown, a value has the wrong type or is out of
            range, or settings contradict each other; the files of a corpus without a name look like none.
    """
    data, lines = _read_file(config) if config is not None else ({}, {})
    overridden = [name for text in overrides for name in _override(data, text)]
    _model_defaults(data)
    for text in base:
        _override(data, text, only_missing=True)
    _tidy(data, Config)
    for corpus in _corpora(data):
        if "name" not in corpus and isinstance(corpus.get("root"), str):
            corpus["name"] = recognise(Path(corpus["root"]), "corpus.name").name
    try:
        # JSON's strict rules fit YAML's data: a list becomes a tuple and a text a path, but "3" is no number.
        return Config.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise UserError(explain(error, Config, Sources(config, lines, overridden))) from error


def dump(config: Config) -> str:
    """Return YAML naming every setting, which ``load`` turns into an equal ``Config``."""
    return yaml_text.write(config.model_dump(mode="json"))


def option_as_setting(typed: Sequence[str], known: Collection[str] = ()) -> str | None:
    """A sentence about the first option among ``typed`` whose name is one of a setting; None where there is none.

    Options that the command has, ``known``, and their beginnings are none that were meant for a setting.

    >>> option_as_setting(["train", "--nproc", "2", "--epochs", "3"], known=["--nproc"])
    'there is no option --epochs; settings are given as group.key=value: train.epochs=3'
    >>> option_as_setting(["plan", "--memory", "2GiB"], known=["--memory-per-rank"])
    """
    for place, text in enumerate(typed):
        option, equals, value = text.partition("=")
        begins = option.startswith("--") and any(one.startswith(option) for one in known)
        if begins or not option.startswith("--") or not (names := settings_called(option[2:], Config, known)):
            continue
        if not equals:
            following = typed[place + 1] if place + 1 < len(typed) else "-"
            value = "…" if following.startswith("-") else following
        forms = " or ".join(f"{name}={value}" for name in names)
        return f"there is no option {option}; settings are given as group.key=value: {forms}"
    return None


def _read_file(path: Path) -> tuple[dict[str, Any], Mapping[str, int]]:
    try:
        text = plain(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text in UTF-8; settings are YAML.") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot read the settings file {path}: {reason}.") from error
    try:
        data, lines = yaml_text.read(text)
    except yaml_text.YamlProblem as problem:
        raise UserError(f"{path}, line {problem.line}: {problem.clause}.") from problem
    if data is None:
        return {}, {}
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold groups of settings, such as 'train:' with 'epochs: 3' under it.")
    return data, lines


def _tidy(data: dict[str, Any], model: type[Settings]) -> None:
    """Take a group with nothing under it (all its lines commented out) as its defaults, and ``~/`` as home."""
    for name, field in model.model_fields.items():
        group, value = group_of(field.annotation), data.get(name)
        if isinstance(value, str) and value.startswith("~/"):
            data[name] = os.path.expanduser(value)
        elif group is not None and isinstance(value, dict):
            _tidy(value, group)
        elif group is not None and value is None and field.default is not None:
            data.pop(name, None)


def _override(data: dict[str, Any], text: str, only_missing: bool = False) -> list[str]:
    """Put one ``group.key=value`` into ``data``, or leave what is there; the dotted names that it sets."""
    name, equals, raw = text.partition("=")
    name = name.strip()
    parts = name.split(".")
    if not equals or not all(re.fullmatch(r"[A-Za-z_][\w-]*", part) for part in parts):
        raise UserError(f"cannot read {text!r} on the command line; write group.key=value, such as train.epochs=3.")
    if not raw.isascii() and any("\ud800" <= letter <= "\udfff" for letter in raw):
        raise UserError(f"cannot read '{text}' on the command line: it is no UTF-8; rename what it names.")
    annotation = _annotation(parts)
    try:
        value = (raw or None) if _is_text(annotation) else yaml_text.read_value(raw, _holds_texts(annotation))
    except yaml_text.YamlProblem as problem:
        raise UserError(f"cannot read {text!r} on the command line: {problem.clause}.") from problem
    return _put(data, parts, value, only_missing)


def _put(data: dict[str, Any], parts: Sequence[str], value: Any, only_missing: bool) -> list[str]:
    """Put the value of the setting with these names into ``data``, of a group each of its keys."""
    if isinstance(value, dict) and group_of(_annotation(parts)) is not None:
        return [name for key, one in value.items() for name in _put(data, [*parts, str(key)], one, only_missing)]
    name = ".".join(parts)
    for part in parts[:-1]:
        if data.get(part) is None:
            data[part] = {}
        if not isinstance(data[part], dict):  # the file's own mistake, which validation names
            return [name]
        data = data[part]
    if not (only_missing and parts[-1] in data):
        data[parts[-1]] = value
    return [name]


def _model_defaults(data: dict[str, Any]) -> None:
    """Fill in what the named model has other defaults of."""
    group = data.get("model")
    model = models().get(str(group.get("name"))) if isinstance(group, dict) and not group.get("file") else None
    for dotted, value in model.defaults.items() if model else ():
        name, _, key = dotted.partition(".")
        if data.get(name) is None:
            data[name] = {}
        if isinstance(data[name], dict):
            data[name].setdefault(key, value)


def _corpora(data: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The groups of settings that describe a corpus; a folder among further corpora becomes one."""
    split = data.get("split")
    for group in (data.get("corpus"), split.get("test") if isinstance(split, dict) else None):
        if isinstance(group, dict):
            yield group
            also = group.get("also")
            also = [also] if isinstance(also, str) else also
            if isinstance(also, list):
                group["also"] = [{"root": os.path.expanduser(one)} if isinstance(one, str) else one for one in also]
                yield from (one for one in group["also"] if isinstance(one, dict))


def _annotation(parts: Sequence[str]) -> Any:
    """The type of the setting with this dotted name; None where there is none."""
    model: type[Settings] | None = Config
    annotation: Any = None
    for part in parts:
        if model is None or part not in model.model_fields:
            return None
        annotation = model.model_fields[part].annotation
        model = group_of(annotation)
    return annotation


def _is_text(annotation: Any) -> bool:
    """Whether a setting is a text or a path, or nothing."""
    kinds = set(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else {annotation}
    return kinds <= {str, Path, type(None)}


def _holds_texts(annotation: Any) -> bool:
    """Whether a setting is a list of texts."""
    return get_origin(annotation) is tuple and get_args(annotation)[0] in (str, Path)
