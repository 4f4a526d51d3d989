"""Settings of the corpora and of the protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from parallel_ser.settings import Settings

CorpusName = Literal[
    "synthetic",
    "ravdess",
    "tess",
    "emodb",
    "crema_d",
    "iemocap",
    "savee",
    "meld",
    "esd",
    "emovo",
    "audformat",
    "manifest",
]
ProtocolName = Literal[
    "auto", "random", "speaker", "session", "text", "speaker+text", "given", "cross-corpus", "emobox6", "luna5"
]


def _texts(value: Any) -> Any:
    """One value as a list of one; numbers as texts, as fields are."""
    if isinstance(value, list | tuple):
        return tuple(_text(one) for one in value)
    return value if value is None or isinstance(value, dict) else (_text(value),)


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


Texts = Annotated[tuple[str, ...], BeforeValidator(_texts), Field(min_length=1)]


class SyntheticSettings(Settings):
    """The built-in corpus: ``speakers`` × 7 emotions × ``sentences`` × ``takes`` utterances.

    ``speakers``: synthetic voices, half of them male.
    ``sentences``: texts that every speaker says in every emotion.
    ``takes``: times that each is said.
    ``seed``: of all that is drawn by chance.
    """

    speakers: int = Field(10, ge=2, le=200)
    sentences: int = Field(4, ge=1, le=20)
    takes: int = Field(2, ge=1, le=20)
    seed: int = Field(0, ge=0)


class PartSettings(Settings):
    """One corpus, and which of its recordings.

    ``name``: of the corpus; without it ``root`` is taken for what its files look like.
    ``root``: the corpus's folder, or the CSV file of a manifest; the built-in corpus lies in the cache and takes none.
    ``where``: the values that fields of the reader or the manifest must have, such as ``{intensity: strong}``; also
    sex, speaker, text and corpus.
    ``synthetic``: the size of the built-in corpus.
    """

    name: CorpusName = "synthetic"
    root: Path | None = None
    where: dict[str, Texts] = Field(default_factory=dict)
    synthetic: SyntheticSettings = SyntheticSettings()

    @model_validator(mode="after")
    def _root_where_needed(self) -> PartSettings:
        if self.name != "synthetic" and self.root is None:
            raise ValueError(f"corpus.name={self.name} needs corpus.root, the folder of its recordings")
        if self.name == "synthetic" and self.root is not None:
            raise ValueError(
                f"corpus.name=synthetic is built in and lies in the cache, so it takes no corpus.root={self.root}: "
                "give the name of the corpus that lies there, or leave corpus.root out"
            )
        return self


class CorpusSettings(PartSettings):
    """Which recordings, and under which names their emotions go.

    ``also``: further corpora in the same run, whose emotions go under the first one's names.
    ``merge``: emotions that count as another, such as ``{happy: [excited]}``, before ``labels``.
    ``labels``: ``own`` keeps the corpus's emotions; ``seven`` maps them to joy, anger, sadness, surprise, fear,
    disgust and neutral (calm counts as neutral; emotions with no counterpart are left out); ``four`` is the usual
    choice of IEMOCAP: neutral, happy (with excited), angry, sad.
    ``emotions``: those that are taken of what ``labels`` gives, all when empty.
    ``on_problem``: whether recordings without features (undecodable, empty, silent, too short or too long) are left
    out, which is said beside the result, or stop the run.
    """

    also: tuple[PartSettings, ...] = ()
    merge: dict[str, Texts] = Field(default_factory=dict)
    labels: Literal["own", "seven", "four"] = "own"
    emotions: tuple[str, ...] = ()
    on_problem: Literal["skip", "stop"] = "skip"

    @property
    def parts(self) -> tuple[PartSettings, ...]:
        """Each corpus."""
        return (self, *self.also)

    @property
    def title(self) -> str:
        """The names of all corpora, such as ``emodb+ravdess``."""
        return "+".join(dict.fromkeys(part.name for part in self.parts))


class SplitSettings(Settings):
    """Which utterances train, select and test.

    ``protocol``: what the sides are kept apart by; ``auto`` is the corpus's own, ``session`` for IEMOCAP and
    ``speaker`` for others.
    ``folds``: k for ``random``, ``speaker``, ``session``, ``text`` and ``speaker+text``; 0 means leave one out. The
    published and the given protocols bring their own.
    ``only``: the folds to run, all when empty.
    ``selection``: the share of the training side (of its speakers, under a protocol by speaker) held out for
    early stopping.
    ``seed``: of the draw of folds and selection sides.
    ``test``: the corpus tested on, for ``cross-corpus`` alone; a group with the settings of ``corpus``.
    ``column``: the field that has an utterance's side, for ``given`` alone: train, selection (dev, valid) and test, or
    the number of the fold that tests it.
    ``file``: a CSV file with that column and a path or a speaker, where the corpus does not have it.
    ``speakers_may_cross``: take a given split with a speaker on two sides, which every result then says.
    """

    protocol: ProtocolName = "auto"
    folds: int = Field(5, ge=0)
    only: tuple[int, ...] = ()
    selection: float = Field(0.15, gt=0.0, lt=0.9)
    seed: int = Field(0, ge=0)
    test: CorpusSettings | None = None
    column: str = "split"
    file: Path | None = None
    speakers_may_cross: bool = False

    @model_validator(mode="after")
    def _combination(self) -> SplitSettings:
        if self.folds == 1:
            raise ValueError("split.folds=1 leaves nothing to train on; use 2 or more, or 0 to leave one out")
        if (self.protocol == "cross-corpus") != (self.test is not None):
            raise ValueError("split.protocol=cross-corpus and split.test (the corpus tested on) go together")
        if self.protocol != "given" and (self.file is not None or self.speakers_may_cross):
            setting = "split.file" if self.file is not None else "split.speakers_may_cross"
            raise ValueError(f"{setting} belongs to split.protocol=given")
        return self
