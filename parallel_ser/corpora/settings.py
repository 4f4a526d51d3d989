"""Settings of the corpora and of the protocols."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from parallel_ser.settings import Settings

CorpusName = Literal["synthetic", "ravdess", "tess", "emodb", "crema_d", "iemocap", "manifest"]
ProtocolName = Literal["random", "speaker", "text", "speaker+text", "cross-corpus", "emobox6", "luna5"]


class SyntheticSettings(Settings):
    """The built-in corpus: ``speakers`` × 7 emotions × ``sentences`` × ``takes`` utterances."""

    speakers: int = Field(10, ge=2, le=200)
    sentences: int = Field(4, ge=1, le=20)
    takes: int = Field(2, ge=1, le=20)
    seed: int = Field(0, ge=0)


class CorpusSettings(Settings):
    """Which recordings, and under which names their emotions go.

    ``labels``: ``own`` keeps the corpus's emotions; ``seven`` maps them to joy, anger, sadness, surprise, fear,
    disgust and neutral (calm counts as neutral; emotions with no counterpart are left out); ``four`` is IEMOCAP's
    neutral, happy (with excited), angry, sad.
    ``root``: the corpus's folder, or the CSV file of a manifest, which says what corpus it is where ``name`` does not;
    the built-in corpus lies in the cache and takes none.
    ``on_problem``: whether recordings without features (undecodable, empty, silent, too short or too long) are left
    out, which is said beside the result, or stop the run.
    """

    name: CorpusName = "synthetic"
    root: Path | None = None
    labels: Literal["own", "seven", "four"] = "own"
    on_problem: Literal["skip", "stop"] = "skip"
    synthetic: SyntheticSettings = SyntheticSettings()

    @model_validator(mode="after")
    def _root_where_needed(self) -> CorpusSettings:
        if self.name != "synthetic" and self.root is None:
            raise ValueError(f"corpus.name={self.name} needs corpus.root, the folder of its recordings")
        if self.name == "synthetic" and self.root is not None:
            raise ValueError(
                f"corpus.name=synthetic is built in and lies in the cache, so it takes no corpus.root={self.root}: "
                "give the name of the corpus that lies there, or leave corpus.root out"
            )
        if self.labels == "four" and self.name != "iemocap":
            raise ValueError("corpus.labels=four belongs to corpus.name=iemocap; use own or seven")
        return self


class SplitSettings(Settings):
    """Which utterances train, select and test.

    ``folds``: k for ``random``, ``speaker``, ``text`` and ``speaker+text``; 0 means leave one out. The published
    protocols bring their own.
    ``only``: the folds to run, all when empty.
    ``selection``: the share of the training side (of its speakers, under a protocol by speaker) held out for
    early stopping.
    ``test``: the corpus tested on, for ``cross-corpus`` alone.
    """

    protocol: ProtocolName = "speaker"
    folds: int = Field(5, ge=0)
    only: tuple[int, ...] = ()
    selection: float = Field(0.15, gt=0.0, lt=0.9)
    seed: int = Field(0, ge=0)
    test: CorpusSettings | None = None

    @model_validator(mode="after")
    def _combination(self) -> SplitSettings:
        if self.folds == 1:
            raise ValueError("split.folds=1 leaves nothing to train on; use 2 or more, or 0 to leave one out")
        if (self.protocol == "cross-corpus") != (self.test is not None):
            raise ValueError("split.protocol=cross-corpus and split.test (the corpus tested on) go together")
        return self
