"""A run's networks as ONNX files, from features to probabilities, compared with the run's own answers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parallel_ser.errors import UserError
from parallel_ser.models.batch import Inputs
from parallel_ser.models.chain import Chain
from parallel_ser.training import run_folder
from parallel_ser.training.data import FRAMES_STEP
from parallel_ser.training.inference import NeuralRun, Run
from parallel_ser.training.model_file import Model
from parallel_ser.training.normalise import FLOOR, Normaliser

CLOSE = 1e-4
"""Of probabilities, the most that onnxruntime's may differ by."""
_OPSET = 18


class _Network(nn.Module):
    """Features ``(batch, rows, frames)``, zero where padded, and the frames of each, to probabilities."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, chain: Chain, normaliser: Normaliser, temperature: float) -> None:
        super().__init__()
        self.chain, self.mode, self.temperature = chain, normaliser.mode, temperature
        self.register_buffer("mean", torch.from_numpy(normaliser.mean)[None])
        self.register_buffer("deviation", torch.from_numpy(normaliser.deviation)[None])

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """See the class."""
        frames = features.shape[2]
        real = (torch.arange(frames) < lengths[:, None]).to(features.dtype)[:, None, :]
        x = features
        if self.mode == "train":
            x = (x - self.mean) / self.deviation * real
        elif self.mode == "utterance":
            count = lengths.to(x.dtype)[:, None, None]
            x = (x - (x * real).sum(2, keepdim=True) / count) * real
            x = x / ((x * x).sum(2, keepdim=True) / count).sqrt().clamp_min(FLOOR)
        valid = lengths.to(features.dtype) / frames
        logits: Tensor = self.chain(x[:, None], valid, torch.zeros_like(lengths))
        return (logits / self.temperature).softmax(1)


def export(run: Run, folder: Path) -> dict[str, Any]:
    """Write ``fold-N.onnx`` of every fold's network and ``export.json``, which says how they are fed.

    Args:
        run: of a network.
        folder: to write to; it must not be there, or be empty.

    Returns:
        What ``export.json`` holds, with the largest difference ``difference`` of a probability from the run's own.

    Raises:
        UserError: the run cannot be exported exactly, a package is missing, or onnxruntime answers otherwise.
    """
    if not isinstance(run, NeuralRun):
        raise UserError(
            f"{run.folder} is no run of one network, and what is exported are networks: from Python, "
            "parallel_ser.load(RUN).predict_proba does for the others what an exported file would."
        )
    beside = run.config.model.beside
    if beside.vocabulary or beside.xvectors:
        raise UserError(f"model.name={run.config.model.name} reads words or embeddings beside the sound: not exported.")
    runtime = _packages()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: give another --out.")
    shown, worst = [], 0.0
    for fold, model in run.models.items():
        path = folder / f"fold-{fold}.onnx"
        worst = max(worst, _one(run, fold, model, path, runtime))
        shown.append(path.name)
    record = {
        "files": shown,
        "classes": list(run.classes),
        "features": run.config.features.model_dump(mode="json"),
        "audio": run.config.audio.model_dump(mode="json"),
        "inputs": {
            "features": "(batch, rows, frames) float32: the rows of features.streams in their order, zero behind an "
            f"utterance's last frame; frames a multiple of {FRAMES_STEP}",
            "lengths": "(batch,) int64: the frames of each that are real",
        },
        "output": "probabilities (batch, classes); a run's answer is the mean over its folds' files",
        "notes": _left(run),
        "difference": worst,
    }
    run_folder.write_json(folder / "export.json", record)
    return record


def _left(run: NeuralRun) -> list[str]:
    """What of the run's answers the files do not do."""
    found = []
    if run.by_speaker:
        found.append("features come standardised by all utterances of their speaker: give them so")
    if run.config.train.views > 1:
        found.append(f"a run's answer is the mean of {run.config.train.views} views, a file's is that of the first")
    return found


def _packages() -> Any:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # what torch exports with
    except ImportError as error:
        raise UserError("exporting needs the packages of pip install 'parallel-ser[onnx]'.") from error
    return onnxruntime


def _one(run: NeuralRun, fold: int, model: Model, path: Path, runtime: Any) -> float:
    """Write a fold's file; returns the largest difference of its probabilities from the run's own."""
    normaliser = model.normaliser
    rows = len(normaliser.mean)
    network = _Network(model.module.part, normaliser, _temperature(run, fold)).eval()
    generator = np.random.default_rng(0)
    features, lengths = _batch(generator, rows, (3 * FRAMES_STEP, 41))
    frames = FRAMES_STEP * torch.export.Dim("steps", min=1, max=4096)
    shapes = {"features": {0: torch.export.Dim("batch"), 2: frames}, "lengths": {0: torch.export.Dim("batch")}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's own versions
        logging.disable(logging.WARNING)
        try:
            torch.onnx.export(
                network,
                (features, lengths),
                path,
                input_names=["features", "lengths"],
                output_names=["probabilities"],
                dynamic_shapes=shapes,
                opset_version=_OPSET,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
        except Exception as error:
            path.unlink(missing_ok=True)
            raise UserError(
                f"torch.onnx cannot export model.name={run.config.model.name}: {str(error).splitlines()[0]}"
            ) from error
        finally:
            logging.disable(logging.NOTSET)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for given in ((FRAMES_STEP, 7), (5 * FRAMES_STEP, 111, 64), (2 * FRAMES_STEP,)):
        features, lengths = _batch(generator, rows, given)
        try:
            theirs = session.run(None, {"features": features.numpy(), "lengths": lengths.numpy()})[0]
        except Exception as error:  # of onnxruntime's own kinds
            path.unlink()
            raise UserError(
                f"model.name={run.config.model.name} is not exported: torch.onnx ties it to one number of frames."
            ) from error
        worst = max(worst, float(np.abs(theirs - _ours(run, fold, model, features, lengths)).max()))
    if worst > CLOSE:
        path.unlink()
        raise UserError(f"onnxruntime's probabilities differ by {worst:.2g} from the run's own, over {CLOSE:g}.")
    return worst


def _batch(generator: np.random.Generator, rows: int, lengths: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Random features, padded, and their lengths."""
    wide = -(-max(lengths) // FRAMES_STEP) * FRAMES_STEP
    x = generator.standard_normal((len(lengths), rows, wide)).astype(np.float32)
    for row, length in enumerate(lengths):
        x[row, :, length:] = 0.0
    return torch.from_numpy(x), torch.tensor(lengths)


def _ours(run: NeuralRun, fold: int, model: Model, features: Tensor, lengths: Tensor) -> np.ndarray:
    """The run's own probabilities, of the first view."""
    frames = [one[:, : int(length)].numpy() for one, length in zip(features, lengths, strict=True)]
    if model.normaliser.mode != "speaker":
        frames = model.normaliser(frames, [""] * len(frames))
    x = torch.zeros_like(features)
    for row, one in enumerate(frames):
        x[row, :, : one.shape[1]] = torch.from_numpy(one)
    inputs = Inputs(x[:, None], lengths / features.shape[2], torch.zeros_like(lengths))
    said = model._logits(inputs).double().softmax(1).numpy()
    return run.calibration[fold](said)


def _temperature(run: NeuralRun, fold: int) -> float:
    """Of the fold's calibration.

    Raises:
        UserError: it is calibrated otherwise.
    """
    state: Mapping[str, Any] = run.calibration[fold].state()
    if state["method"] not in ("none", "temperature"):
        raise UserError(
            f"fold {fold} of {run.folder} is calibrated by {state['method']}, which is not exported: "
            "parallel-ser calibrate RUN --method temperature first."
        )
    return float(state.get("temperature", 1.0))
