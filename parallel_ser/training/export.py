"""A run's models as ONNX files, from features to probabilities, compared with the run's own answers."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from parallel_ser.classical import onnx_graph
from parallel_ser.errors import UserError
from parallel_ser.models.batch import Inputs
from parallel_ser.models.chain import Chain
from parallel_ser.training import run_folder
from parallel_ser.training.batches import FRAMES_STEP
from parallel_ser.training.inference import ClassicalRun, NeuralRun, Run
from parallel_ser.training.model_file import Model
from parallel_ser.training.normalise import FLOOR, Normaliser

CLOSE = 1e-4
"""Of probabilities, the most that onnxruntime's may differ by."""
_OPSET = 18
_OUTPUT = "probabilities (batch, classes); a run's answer is the mean over its folds' files"
_LENGTHS = "(batch,) int64: the frames of each that are real"
_BY_SPEAKER = "features come standardised by all utterances of their speaker: give them so"


class _Network(nn.Module):
    """Features ``(batch, rows, frames)``, zero where padded, and the frames of each, to probabilities."""

    mean: Tensor
    deviation: Tensor
    temperature: Tensor

    def __init__(self, chain: Chain, normaliser: Normaliser, temperature: float) -> None:
        super().__init__()
        self.chain, self.mode = chain, normaliser.mode
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32))
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
    """Write ``fold-N.onnx`` of every fold's model and ``export.json``, which says how they are fed.

    Args:
        run: of a network or of a classical system.
        folder: to write to; it must not be there, or be empty.

    Returns:
        What ``export.json`` holds, with the largest difference ``difference`` of a probability from the run's own.

    Raises:
        UserError: the run cannot be exported exactly, a package is missing, or onnxruntime answers otherwise.
    """
    one: Callable[[int, float, Path, Any], float]
    if isinstance(run, NeuralRun):
        about, one = _about_network(run), partial(_network, run)
    elif isinstance(run, ClassicalRun):
        about, one = _about_classical(run), partial(_classical, run)
    else:
        raise UserError(
            f"{run.folder} is a fusion, and what is exported are single runs: export each of its runs, or ask it from "
            "Python, parallel_ser.load(RUN).predict_proba."
        )
    temperatures = {fold: _temperature(run, fold) for fold in run.folds}
    runtime = _packages()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: give another --out.")
    shown, worst = [], 0.0
    for fold, temperature in temperatures.items():
        path = folder / f"fold-{fold}.onnx"
        worst = max(worst, one(fold, temperature, path, runtime))
        if not worst <= CLOSE:
            path.unlink()
            raise UserError(f"onnxruntime's probabilities differ by {worst:.2g} from the run's own, over {CLOSE:g}.")
        shown.append(path.name)
    record = {
        "files": shown,
        "classes": list(run.classes),
        "features": run.config.features.model_dump(mode="json"),
        "audio": run.config.audio.model_dump(mode="json"),
        **about,
        "difference": worst,
    }
    run_folder.write_json(folder / "export.json", record)
    return record


def _about_network(run: NeuralRun) -> dict[str, Any]:
    """How the files are fed, what comes of them, and what of the run's answers they do not do.

    Raises:
        UserError: the network is of a kind that is not exported.
    """
    beside, name = run.config.model.beside, f"model.name={run.config.model.name}"
    if beside.vocabulary or beside.xvectors:
        raise UserError(f"{name} reads words or embeddings beside the sound: not exported.")
    if beside.vectors:
        tail = " beside the frames and is not exported; trained with model.options.vectors=0 it is."
        raise UserError(f"{name} reads vectors{tail if beside.frames else ': not exported.'}")
    inputs = {
        "features": "(batch, rows, frames) float32: the rows of features.streams in their order, zero behind an "
        f"utterance's last frame; frames a multiple of {FRAMES_STEP}",
        "lengths": _LENGTHS,
    }
    return {"inputs": inputs, "output": _OUTPUT, "notes": _left(run)}


def _about_classical(run: ClassicalRun) -> dict[str, Any]:
    """The same; ``values`` has the names of the vectors' values.

    Raises:
        UserError: the system is of a kind that is not exported.
    """
    for model in run.models.values():
        onnx_graph.require_exportable(model)
    first = next(iter(run.models.values()))
    inputs = {
        name: f"(batch, {len(names)}) float64: the values of classical.views={name}, in the order of values.{name}"
        for name, names in first.inputs.items()
    }
    if not inputs:
        streams = ", ".join(run.config.classical.mixture.streams)
        inputs = {
            "cepstra": f"(batch, frames, values) float32: of each frame the rows of {streams}, then the slope of each "
            "over nine frames (the ends repeated), then the slope of each of these",
            "lengths": _LENGTHS,
        }
    notes = [_BY_SPEAKER] if onnx_graph.standardised_by_others(first) else []
    return {
        "inputs": inputs,
        "values": dict(first.inputs),
        "output": _OUTPUT,
        "notes": notes + _without_copies(run),
    }


def _left(run: NeuralRun) -> list[str]:
    """What of the run's answers the files do not do."""
    found = []
    if run.by_speaker:
        found.append(_BY_SPEAKER)
    if run.config.train.views > 1:
        found.append(f"a run's answer is the mean of {run.config.train.views} views, a file's is that of the first")
    return found + _without_copies(run)


def _without_copies(run: NeuralRun | ClassicalRun) -> list[str]:
    """That the files do not make altered copies, where the run's answers are of them."""
    count = run.config.train.tta_copies
    alone = f"a run's answer is the mean over a recording and {count} altered copies of it, a file's is the recording's"
    return [alone] if count else []


def _packages() -> Any:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  # what torch exports with
    except ImportError as error:
        raise UserError("exporting needs the packages of pip install 'parallel-ser[onnx]'.") from error
    return onnxruntime


def _classical(run: ClassicalRun, fold: int, temperature: float, path: Path, runtime: Any) -> float:
    """As ``_network``, of a classical system."""
    model = run.models[fold]
    made = onnx_graph.graph(model, temperature)
    path.write_bytes(made.SerializeToString())
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    generator, worst = np.random.default_rng(0), 0.0
    for count in (1, 2, 7):
        feeds, own = onnx_graph.trial(model, generator, count)
        theirs = session.run(None, feeds)[0]
        worst = max(worst, float(np.abs(theirs - run.calibration[fold](own)).max()))
    return worst


def _network(run: NeuralRun, fold: int, temperature: float, path: Path, runtime: Any) -> float:
    """Write a fold's file; returns the largest difference of its probabilities from the run's own."""
    model = run.models[fold]
    network = _Network(model.module.part, model.preprocessor.normaliser, temperature).eval()
    if others := sorted(path.parent.glob("*.onnx")):  # the same network: tracing it again takes half a minute
        _with_weights(others[0], network, path)
    else:
        _trace(network, path, run.config.model.name)
    generator, rows, worst = np.random.default_rng(0), len(model.preprocessor.normaliser.mean), 0.0
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
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
    return worst


def _trace(network: _Network, path: Path, name: str) -> None:
    """Write a network.

    Raises:
        UserError: torch.onnx cannot.
    """
    inputs = _batch(np.random.default_rng(0), network.mean.shape[1], (3 * FRAMES_STEP, 41))
    frames = FRAMES_STEP * torch.export.Dim("steps", min=1, max=4096)
    shapes = {"features": {0: torch.export.Dim("batch"), 2: frames}, "lengths": {0: torch.export.Dim("batch")}}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the exporter's own versions
        logging.disable(logging.WARNING)
        try:
            torch.onnx.export(
                network,
                inputs,
                path,
                input_names=["features", "lengths"],
                output_names=["probabilities"],
                dynamic_shapes=shapes,
                opset_version=_OPSET,
                dynamo=True,
                external_data=False,
                optimize=False,  # a third of the time; onnxruntime does it when it loads, and weights keep their names
                verbose=False,
            )
        except Exception as error:
            path.unlink(missing_ok=True)
            raise UserError(f"torch.onnx cannot export model.name={name}: {str(error).splitlines()[0]}") from error
        finally:
            logging.disable(logging.NOTSET)


def _with_weights(other: Path, network: _Network, path: Path) -> None:
    """Write a network's file as another of the same shape, whose weights go by the names of its state."""
    import onnx

    made = onnx.load(other)
    state = network.state_dict()
    for tensor in made.graph.initializer:
        if tensor.name in state:
            tensor.CopyFrom(onnx.numpy_helper.from_array(state[tensor.name].numpy(), tensor.name))
    onnx.save(made, path)


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
    normaliser = model.preprocessor.normaliser
    if normaliser.mode != "speaker":
        frames = normaliser(frames, [""] * len(frames))
    x = torch.zeros_like(features)
    for row, one in enumerate(frames):
        x[row, :, : one.shape[1]] = torch.from_numpy(one)
    inputs = Inputs(x[:, None], lengths / features.shape[2], torch.zeros_like(lengths))
    said = model._logits(inputs).double().softmax(1).numpy()
    return run.calibration[fold](said)


def _temperature(run: Run, fold: int) -> float:
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
