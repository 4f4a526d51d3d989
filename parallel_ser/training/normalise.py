"""Standardising features, with statistics from where the settings allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

FLOOR = 1e-3  # of a deviation: a row that never varies stays finite


@dataclass(frozen=True)
class Normaliser:
    """How features ``(rows, frames)`` become zero-mean and unit-variance rows.

    Attributes:
        mode: ``none``; ``utterance`` (each by itself); ``train`` (by the training side); ``speaker`` (by all
            utterances at hand of the same speaker: transductive, for a test speaker's unlabelled speech is used).
        mean: ``(rows, 1)`` of the training side.
        deviation: ``(rows, 1)`` of the training side.
    """

    mode: str
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def fit(cls, mode: str, training: Sequence[np.ndarray], least: float = FLOOR) -> Normaliser:
        """Statistics of the training side's frames; ``least`` is the smallest deviation that is divided by."""
        return cls(mode, *_statistics(training, least))

    def __call__(self, frames: Sequence[np.ndarray], speakers: Sequence[str]) -> list[np.ndarray]:
        """Standardise utterances; under ``speaker`` those of one speaker share their statistics."""
        if self.mode == "none":
            return list(frames)
        if self.mode == "utterance":
            return [_apply(one, *_statistics([one])) for one in frames]
        if self.mode == "train":
            return [_apply(one, self.mean, self.deviation) for one in frames]
        own: dict[str, list[np.ndarray]] = {}
        for one, speaker in zip(frames, speakers, strict=True):
            own.setdefault(speaker, []).append(one)
        statistics = {speaker: _statistics(utterances) for speaker, utterances in own.items()}
        return [_apply(one, *statistics[speaker]) for one, speaker in zip(frames, speakers, strict=True)]

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "mode": self.mode,
            "mean": torch.from_numpy(self.mean),
            "deviation": torch.from_numpy(self.deviation),
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Normaliser:
        """The normaliser of ``state()``."""
        return cls(state["mode"], state["mean"].numpy(), state["deviation"].numpy())


def _statistics(utterances: Sequence[np.ndarray], least: float = FLOOR) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation ``(rows, 1)`` over all frames, in double precision inside."""
    count = sum(one.shape[1] for one in utterances)
    mean = sum(one.sum(1, dtype=np.float64) for one in utterances) / count
    square = sum(np.square(one - mean[:, None]).sum(1, dtype=np.float64) for one in utterances) / count
    deviation = np.maximum(np.sqrt(square), least)
    return mean[:, None].astype(np.float32), deviation[:, None].astype(np.float32)


def _apply(one: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    return ((one - mean) / deviation).astype(np.float32)
