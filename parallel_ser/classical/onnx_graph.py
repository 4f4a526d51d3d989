"""A classical system as an ONNX graph, from vectors or frames to calibrated probabilities, in double precision.

An own graph, for what ``classical`` computes is no estimator of scikit-learn alone; each function has its twin there.
"""

from __future__ import annotations

from copy import copy
from typing import Any

import numpy as np

from parallel_ser.classical.front import CEPSTRA, ENCODED
from parallel_ser.classical.kernel import Kernel, Machine, Vectors
from parallel_ser.classical.recogniser import Recogniser
from parallel_ser.classical.sample import Frames, Sample
from parallel_ser.classical.systems import KernelSystem, MixtureSystem
from parallel_ser.decision.probabilities import FLOOR
from parallel_ser.errors import UserError

_OPSET, _IR = 18, 9
_BY_OTHERS = ("speaker", "enrol")
"""Modes of standardisation that ask further utterances."""


class _Graph:
    """Nodes that are added one after the other; every method gives the name of what it computes."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, kind: type = np.float64) -> str:
        """An array that the file holds."""
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=kind), name))
        return name

    def of(self, operation: str, *inputs: Any, **attributes: Any) -> str:
        """An operation on names and numbers."""
        from onnx import helper

        named = [one if isinstance(one, str) else self.constant(one) for one in inputs]
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, named, [name], **attributes))
        return name

    def cast(self, name: str, kind: str) -> str:
        """The same as ``DOUBLE``, ``FLOAT`` or another type of ONNX."""
        from onnx import TensorProto

        return self.of("Cast", name, to=getattr(TensorProto, kind))

    def summed(self, name: str, axis: int, how: str = "ReduceSum", keep: bool = False) -> str:
        """Over one axis."""
        return self.of(how, name, self.constant([axis], np.int64), keepdims=int(keep))


def require_exportable(model: Recogniser) -> None:
    """Refuse what the graph has no twin of.

    Raises:
        UserError: it is named.
    """
    if made := [name for name in getattr(model.system, "views", ()) if name in ENCODED]:
        raise UserError(f"classical.views={made[0]} is made of all frames by a mixture, which is not exported.")
    if getattr(model.system, "self_training", 0.0):
        raise UserError("classical.self_training fits anew for each speaker, which is not exported.")
    if model.calibration["method"] not in ("none", "temperature"):
        raise UserError(
            f"classical.calibrate={model.calibration['method']} is not exported: train with "
            "classical.calibrate=temperature."
        )


def graph(model: Recogniser, temperature: float) -> Any:
    """The model of ONNX.

    Args:
        model: see ``require_exportable``.
        temperature: of the run's calibration, behind the recogniser's own.

    Its inputs are the views' vectors ``(batch, values)`` float64 by their names; of a mixture system ``cepstra``
    ``(batch, frames, values)`` float32, whatever behind an utterance's last frame, and ``lengths`` ``(batch,)`` int64.
    """
    from onnx import TensorProto, helper

    made = _Graph()
    inputs: list[tuple[str, int, list[Any]]]
    if isinstance(model.system, KernelSystem):
        inputs = [(name, TensorProto.DOUBLE, ["batch", len(model.inputs[name])]) for name in model.system.views]
        scores = _kernel_scores(made, model, model.system)
    else:
        assert isinstance(model.system, MixtureSystem)
        values = model.system.mixtures_[0].means_.shape[1]
        inputs = [(CEPSTRA, TensorProto.FLOAT, ["batch", "frames", values]), ("lengths", TensorProto.INT64, ["batch"])]
        scores = _mixture_scores(made, model, model.system)
    own = model.calibration.get("temperature", 1.0)
    likely = made.of("Softmax", made.of("Div", scores, model.spread), axis=1)
    for degrees in (own, temperature):
        logarithm = made.of("Log", made.of("Max", likely, FLOOR))
        likely = made.of("Softmax", made.of("Div", logarithm, degrees), axis=1) if degrees != 1.0 else likely
    made.nodes.append(helper.make_node("Identity", [likely], ["probabilities"]))
    output = helper.make_tensor_value_info("probabilities", TensorProto.DOUBLE, ["batch", len(model.classes)])
    described = helper.make_graph(
        made.nodes, "recogniser", [helper.make_tensor_value_info(*one) for one in inputs], [output], made.constants
    )
    return helper.make_model(described, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)


def standardised_by_others(model: Recogniser) -> bool:
    """Whether the graph is given what further utterances have standardised."""
    return model.front.mode in _BY_OTHERS


def trial(model: Recogniser, generator: np.random.Generator, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random inputs like those trained on, and the recogniser's own probabilities of them."""
    feeds: dict[str, np.ndarray] = {}
    views: dict[str, Any] = {}
    if isinstance(model.system, KernelSystem):
        for name in model.system.views:
            ready = model.system.vectors_[name]
            spread = np.where(np.isfinite(ready.scale_), ready.scale_, 0.0)
            values = ready.mean_ + spread * generator.standard_normal((count, len(ready.mean_)))
            feeds[name] = views[name] = _raw(model, name, values)
    else:
        assert isinstance(model.system, MixtureSystem)
        means = np.concatenate([mixture.means_ for mixture in model.system.mixtures_])
        lengths = generator.integers(3, 40, count)
        rows = [generator.standard_normal((length, means.shape[1])) + generator.choice(means) for length in lengths]
        frames = [_raw(model, CEPSTRA, one).astype(np.float32) for one in rows]
        padded = np.zeros((count, lengths.max(), frames[0].shape[1]), np.float32)
        for place, one in enumerate(frames):
            padded[place, : len(one)] = one
        feeds, views = {CEPSTRA: padded, "lengths": lengths}, {CEPSTRA: Frames.join(frames)}
    sample = Sample(views, np.array(["one speaker"] * count))
    return feeds, model.of_ready(sample) if standardised_by_others(model) else model.predict_proba(sample)


def _raw(model: Recogniser, name: str, values: np.ndarray) -> np.ndarray:
    """Values as they were before the front."""
    one = model.front.standardisers_[name]
    return values * one.deviation_ + one.mean_ if model.front.mode == "train" else values


def _ready(made: _Graph, model: Recogniser, name: str, x: str) -> str:
    """``Standardiser`` where it knows the training speakers' statistics."""
    if model.front.mode != "train":
        return x
    one = model.front.standardisers_[name]
    return made.of("Div", made.of("Sub", x, one.mean_), one.deviation_)


def _kernel_scores(made: _Graph, model: Recogniser, system: KernelSystem) -> str:
    parts = []
    for name in system.views:
        rows = _vectors(made, system.vectors_[name], _ready(made, model, name, name))
        parts.append(_kernel(made, system.kernels_[name], rows))
    mean = made.of("Mean", *parts) if len(parts) > 1 else parts[0]
    rows_trained_on = len(system.kernels_[system.views[0]].rows_)
    return _machine(made, system.machine_, mean, rows_trained_on)


def _vectors(made: _Graph, vectors: Vectors, x: str) -> str:
    shift = made.of("Mul", made.of("Sub", x, vectors.mean_), 1.0 / vectors.scale_)
    x = made.of("Clip", shift, -vectors.clip, vectors.clip)
    x = made.of("Gather", x, made.constant(vectors.chosen_, np.int64), axis=1)
    if vectors.nuisance:
        along = made.of("MatMul", x, vectors.directions_)
        x = made.of("Sub", x, made.of("MatMul", along, vectors.directions_.T))
    if vectors.pca:
        x = made.of("MatMul", made.of("Sub", x, vectors.pca_.mean_), vectors.pca_.components_.T)
    return x


def _kernel(made: _Graph, kernel: Kernel, x: str) -> str:
    trained_on = kernel.rows_.astype(np.float64)
    product = made.of("MatMul", x, trained_on.T)
    if kernel.kind == "linear":
        return made.of("Div", product, kernel.scale_)
    squares = made.summed(made.of("Mul", x, x), 1, keep=True)
    both = made.of("Add", squares, (trained_on**2).sum(axis=1)[None])
    distance = made.of("Max", made.of("Sub", both, made.of("Mul", product, 2.0)), 0.0)
    return made.of("Exp", made.of("Div", distance, -kernel.scale_))


def _machine(made: _Graph, machine: Machine, kernel: str, rows: int) -> str:
    """Decisions are affine in the kernel: their weights are what they say of its unit vectors."""
    if machine.learner == "elm":
        return made.of("Add", made.of("MatMul", kernel, machine.weights_), machine.offset_)
    model = copy(machine.model_)
    if machine.learner == "svm":
        model.decision_function_shape = "ovo"
    offset = np.reshape(model.decision_function(np.zeros((1, rows))), (1, -1))
    weights = np.reshape(model.decision_function(np.eye(rows)), (rows, -1)) - offset
    decisions = made.of("Add", made.of("MatMul", kernel, weights), offset)
    classes = len(machine.model_.classes_)
    if classes == 2:
        return made.of("Concat", made.of("Neg", decisions), decisions, axis=1)
    return _voted(made, decisions, classes) if machine.learner == "svm" else decisions


def _voted(made: _Graph, decisions: str, classes: int) -> str:
    """Votes of one against one, and less than half a vote by how sure they are, as scikit-learn counts them."""
    pairs = [(one, other) for one in range(classes) for other in range(one + 1, classes)]
    first = np.array([np.eye(classes)[one] for one, _ in pairs])
    second = np.array([np.eye(classes)[other] for _, other in pairs])
    for_first = made.cast(made.of("GreaterOrEqual", decisions, 0.0), "DOUBLE")
    for_second = made.of("Sub", 1.0, for_first)
    votes = made.of("Add", made.of("MatMul", for_first, first), made.of("MatMul", for_second, second))
    sure = made.of("MatMul", decisions, first - second)
    damped = made.of("Mul", made.of("Add", made.of("Abs", sure), 1.0), 3.0)
    return made.of("Add", votes, made.of("Div", sure, damped))


def _mixture_scores(made: _Graph, model: Recogniser, system: MixtureSystem) -> str:
    x = _ready(made, model, CEPSTRA, made.cast(CEPSTRA, "DOUBLE"))
    x = made.cast(made.cast(x, "FLOAT"), "DOUBLE")  # frames are single precision once they are standardised
    scores = [made.of("Unsqueeze", _likelihood(made, one, x), made.constant([2], np.int64)) for one in system.mixtures_]
    every = made.of("Concat", *scores, axis=2)  # (batch, frames, classes)
    lengths = made.of("Unsqueeze", "lengths", made.constant([1], np.int64))
    frames = made.of("Squeeze", made.of("Shape", CEPSTRA, start=1, end=2), made.constant([0], np.int64))
    places = made.of("Range", made.constant(0, np.int64), frames, made.constant(1, np.int64))
    real = made.of("Unsqueeze", made.of("Less", places, lengths), made.constant([2], np.int64))
    total = made.summed(made.of("Where", real, every, 0.0), 1)
    return made.of("Div", total, made.cast(lengths, "DOUBLE"))


def _likelihood(made: _Graph, mixture: Any, x: str) -> str:
    """Log-likelihood ``(batch, frames)`` of each frame, as ``GaussianMixture.score_samples``."""
    means, roots = mixture.means_, mixture.precisions_cholesky_
    values = means.shape[1]
    if mixture.covariance_type == "diag":
        precisions = roots**2
        squares = made.of("MatMul", made.of("Mul", x, x), precisions.T)
        crossed = made.of("MatMul", x, 2.0 * (means * precisions).T)
        distance = made.of("Add", made.of("Sub", squares, crossed), (means**2 * precisions).sum(axis=1))
        logdet = np.log(roots).sum(axis=1)
    else:
        parts = []
        for mean, root in zip(means, roots, strict=True):
            away = made.of("Sub", made.of("MatMul", x, root), mean @ root)
            parts.append(made.summed(made.of("Mul", away, away), 2, keep=True))
        distance = made.of("Concat", *parts, axis=2)
        logdet = np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    constant = logdet - 0.5 * values * np.log(2 * np.pi) + np.log(mixture.weights_)
    each = made.of("Add", made.of("Mul", distance, -0.5), constant)
    most = made.summed(each, 2, "ReduceMax", keep=True)
    total = made.summed(made.of("Exp", made.of("Sub", each, most)), 2)
    return made.of("Add", made.of("Log", total), made.of("Squeeze", most, made.constant([2], np.int64)))
