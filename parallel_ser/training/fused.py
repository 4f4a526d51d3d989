"""A fusion at work: its runs are asked, and their answers pooled as when it was made."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parallel_ser.decision import calibration, fusion
from parallel_ser.errors import UserError
from parallel_ser.system.digests import read_json, shaped
from parallel_ser.training import run_folder
from parallel_ser.training.inference import Answers, Load, Run

HOW = {"mean": "the mean of calibrated log-probabilities", "stack": "a stacker fitted on held-out speakers"}
"""What each way to fuse is, in words."""


@dataclass(frozen=True)
class Pool:
    """How the systems' probabilities become one in a fold.

    Attributes:
        calibrators: of each system, fitted on what it held out.
        stacker: fitted on what all systems held out; without it the mean of log-probabilities is taken.
    """

    calibrators: tuple[calibration.Calibrator, ...]
    stacker: fusion.Stacker | None = None

    def __call__(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Fused probabilities ``(utterances, classes)`` of each system's, uncalibrated and alike in shape."""
        own = [calibrator(part) for calibrator, part in zip(self.calibrators, parts, strict=True)]
        return self.stacker(own) if self.stacker else fusion.log_mean(own)

    def state(self) -> dict[str, Any]:
        """Plain values that ``from_state`` takes back."""
        stacker = {"stacker": self.stacker.state()} if self.stacker else {}
        return {"calibration": [one.state() for one in self.calibrators], **stacker}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Pool:
        """Inverse of ``state``."""
        stacker = fusion.Stacker.from_state(state["stacker"]) if "stacker" in state else None
        return cls(tuple(calibration.from_state(one) for one in state["calibration"]), stacker)


class FusedRun(Run):
    """A run of ``parallel-ser fuse``; its runs are to be where they were, seen from its folder or by their full path.

    Raises:
        UserError: one of them is not there, or has been trained anew.
    """

    learned_all = True  # its pools were fitted on what its runs held out

    def __init__(self, folder: Path):
        path = folder / run_folder.FUSION
        record = read_json(path)
        with shaped(path):
            folds, how = [int(fold) for fold in record["folds"]], HOW[record["method"]]
            written = [{name: str(one[name]) for name in ("folder", "path", "digest")} for one in record["runs"]]
        self.runs = [Run.open(_where(folder, one)) for one in written]
        for run, one in zip(self.runs, written, strict=True):
            if run_folder.digest_of(run.folder) != one["digest"]:
                raise UserError(f"{run.folder} is not as it was when {folder} was made of it: fuse anew.")
        super().__init__(folder, self.runs[0].config, folds)
        self.classes = self.runs[0].classes
        self.by_speaker = any(run.by_speaker for run in self.runs)
        own = f"fusion of {len(self.runs)} systems by {how}"
        self.notes = tuple(dict.fromkeys([own, *(note for run in self.runs for note in run.notes)]))
        self._pools = {fold: _pool(run_folder.fold_folder(folder, fold) / run_folder.FUSION) for fold in folds}

    @property
    def settings_file(self) -> Path:
        """See ``Run``."""
        return self.runs[0].settings_file

    def raw_answers(self, load: Load) -> Answers:
        """See ``Run``; what a system cannot hear is left out."""
        heard = [run.raw_answers(load) for run in self.runs]
        found: Answers = {}
        for fold, pool in self._pools.items():
            own = [answers[fold] for answers in heard]
            paths = [path for path in own[0] if all(path in one for one in own)]
            if not paths:
                found[fold] = {}
                continue
            parts = [
                np.stack([one[path] for path in paths])[:, self._columns(run)]
                for run, one in zip(self.runs, own, strict=True)
            ]
            found[fold] = dict(zip(paths, pool(parts), strict=True))
        return found

    def _columns(self, run: Run) -> list[int]:
        return [run.classes.index(name) for name in self.classes]


def _pool(path: Path) -> Pool:
    """Of a fold, as its file has it."""
    state = read_json(path)
    with shaped(path):
        return Pool.from_state(state)


def record_of(folder: Path, runs: Sequence[Run], method: str) -> dict[str, Any]:
    """What a fusion in ``folder`` keeps of its runs: where they are, seen from there and in full, and their digests."""
    return {
        "method": method,
        "folds": list(runs[0].folds),
        "runs": [
            {
                "folder": os.path.relpath(run.folder.absolute(), folder.absolute()),
                "path": str(run.folder.absolute()),
                "digest": run_folder.digest_of(run.folder),
            }
            for run in runs
        ],
    }


def _where(folder: Path, written: dict[str, str]) -> Path:
    """Where a run of a fusion lies."""
    beside, found = folder / written["folder"], Path(written["path"])
    if not (beside.exists() or found.exists()):
        raise UserError(f"{folder} was made of {found}, which is not there: put it back, or fuse anew.")
    return beside if beside.exists() else found
