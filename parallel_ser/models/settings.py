"""Settings of the models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from parallel_ser.models.registry import Beside, models
from parallel_ser.settings import Settings, one_of
from parallel_ser.system.files import plain

NARROWEST = 16
"""Channels of a level at the least: convolutions of 8 have corrupted memory in oneDNN on processors with AMX."""
NARROW = "of which convolutions have corrupted memory on some processors"
MOST = 65_536
"""Of an option that counts."""
FIRST = {"s": 32, "m": 64, "l": 128, "xl": 256}
"""Channels of the first level, the narrowest, by size."""


def _known(value: object) -> str:
    return one_of("model.name", list(models()), value, " (model.file= takes your own)")


class ModelSettings(Settings):
    """Which chain is trained.

    ``name``: of a model of the project.
    ``file``: a Python file with a model of your own instead: ``build(rows, classes, **options)`` gives an
    ``nn.Sequential``; see docs/own_model.md.
    ``options``: what ``build`` of that file is given beside; or of a model of the project what is its own, such as
    ``model.options.layers=6`` of ``conformer``.
    ``digest``: of the file's content, filled in: a run goes on with the code that it was begun with.
    ``weights``: the folder of a run whose trained weights are begun with, checked by name and shape; each fold takes a
    model that has not seen what the fold tests. The last block begins anew where the classes differ. Of an encoder
    also a file of torchaudio's weights, or the name of one of its bundles, such as ``WAVLM_BASE``.
    ``size``: of ``cnn`` about 0.3 M (s), 3 M (m), 30 M (l) or 120 M (xl) parameters; of an encoder the architecture,
    such as ``base`` (95 M) or ``large`` (316 M), the first where it is not said.
    ``width``: of ``cnn`` times as wide as the size says, to the next multiple of the normalisations' groups.
    ``attention``: of ``cnn`` transformer layers over frames between the convolutions and the pooling.
    ``recurrent``: of ``cnn`` bidirectional LSTM layers over frames, likewise.
    ``dropout``: the share of activations set to zero in training.
    """

    name: Annotated[str, BeforeValidator(_known)] = "cnn"
    file: Path | None = None
    options: dict[str, int | float | bool | str] = Field(default_factory=dict)
    digest: str = ""
    weights: Path | None = None
    size: str = "s"
    width: float = Field(1.0, gt=0.0, le=64.0)
    attention: int = Field(0, ge=0, le=48)
    recurrent: int = Field(0, ge=0, le=48)
    dropout: float = Field(0.3, ge=0.0, lt=1.0)

    @model_validator(mode="before")
    @classmethod
    def _first_size(cls, data: Any) -> Any:
        """The size that a model begins with, where none is said."""
        model = models().get(data["name"]) if isinstance(data, dict) and isinstance(data.get("name"), str) else None
        return {"size": model.sizes[0], **data} if model and model.sizes else data

    @model_validator(mode="after")
    def _wide_enough(self) -> ModelSettings:
        if sizes := models()[self.name].sizes:
            one_of("model.size", list(sizes), self.size, f" of model.name={self.name}")
        if self.name != "cnn":
            return self
        if FIRST[self.size] * self.width < NARROWEST:
            raise ValueError(
                f"model.width={self.width:g} makes a level of {FIRST[self.size] * self.width:.0f} channels, fewer than "
                f"{NARROWEST}, {NARROW}: "
                f"model.size={self.size} takes model.width={NARROWEST / FIRST[self.size]:g} or more"
            )
        return self

    def chosen(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """A model's options, the defaults where they do not say otherwise."""
        return {**defaults, **self.options}

    @property
    def beside(self) -> Beside:
        """What the network reads of an utterance beside its features; one of your own reads nothing."""
        return Beside() if self.file else models()[self.name].beside(self)

    def _require_known_options(self) -> None:
        model = models()[self.name]
        if self.digest:
            raise ValueError("model.digest belongs to model.file, which is not given")
        for name, value in self.options.items():
            if name not in model.options:
                its = ", ".join(f"{known}={value}" for known, value in model.options.items()) or "none"
                raise ValueError(f"model.options.{name} is none of model.name={self.name}; its options are {its}")
            kind = type(model.options[name])
            least = 1 if model.options[name] else 0
            if type(value) is not kind or (kind is int and not least <= int(value) <= MOST):
                asked = f"a whole number from {least} to {MOST}" if kind is int else f"like {model.options[name]!r}"
                raise ValueError(f"model.options.{name} must be {asked}, not {value!r}")
        for name in model.channels:
            if (value := self.chosen(model.options)[name]) < NARROWEST:
                raise ValueError(f"model.options.{name}={value} are fewer channels than {NARROWEST}, {NARROW}")
        for name in model.files:
            if given := self.options.get(name):
                path = Path(str(given)).absolute()
                if not path.is_file():
                    raise ValueError(f"model.options.{name}={given} is not a file")
                self.options[name] = str(path)
        if clause := model.problem(self.chosen(model.options)):
            raise ValueError(f"model.options: {clause}")
        own = ("width", "attention", "recurrent") if model.sizes else ("size", "width", "attention", "recurrent")
        for name in own if model.options else ():
            if getattr(self, name) != type(self).model_fields[name].default:
                its = ", ".join(model.options)
                raise ValueError(f"model.{name} belongs to model.name=cnn; {self.name} has model.options ({its})")

    @model_validator(mode="after")
    def _file(self) -> ModelSettings:
        if self.file is None:
            self._require_known_options()
            return self
        try:
            digest = hashlib.sha256(plain(self.file).read_bytes()).hexdigest()
        except OSError as error:
            raise ValueError(f"model.file={self.file} cannot be read: {error.strerror}") from error
        if self.digest and self.digest != digest:
            raise ValueError(
                f"model.file={self.file} has changed since these settings were written: put the file back as it was, "
                f"or leave model.digest out to train anew"
            )
        object.__setattr__(self, "digest", digest)
        object.__setattr__(self, "file", self.file.absolute())
        return self
