"""Training that begins with another run's weights, and what that run has seen of the speech that is tested."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from parallel_ser.config import Config
from parallel_ser.corpora.protocols import Fold
from parallel_ser.errors import UserError
from parallel_ser.models.chain import Chain
from parallel_ser.models.registry import outline
from parallel_ser.system.digests import file_digest, read_json
from parallel_ser.training import checkpoint, model_file, pretrained, run_folder
from parallel_ser.training.data import Dataset

FILE = "initial-weights.json"
"""In a fold's folder: where its weights began, and what they had seen."""
UNITS = ("recording", "speaker", "text")

SIDES = ("train", "select")
UNSEEN: Mapping[str, list[str]] = {unit: [] for unit in UNITS}
"""What is recorded of weights that others have pretrained."""

Sides = Mapping[str, Mapping[str, list[str]]]
"""Of ``train`` and ``select``: the recordings (hashes of samples), speakers and texts on that side."""


@dataclass(frozen=True)
class Initial:
    """Weights to begin with.

    Attributes:
        weights: of all that they hold for the chain, by name; empty where training goes on.
        record: ``path``, ``file_digest``, ``seen`` and the names of the blocks that begin ``anew``; and ``pretrained``
            where it is a file of pretrained weights.
        file: of pretrained weights, which each rank maps by itself; None where ``weights`` are all.
    """

    weights: Mapping[str, Tensor]
    record: Mapping[str, Any]
    file: Path | None = None


def sides(data: Dataset, fold: Fold, before: Sides | None = None) -> dict[str, dict[str, list[str]]]:
    """What a fold trains and selects on, with what the weights that it began with had seen ``before``."""
    seen = {"train": units(data, fold.train), "select": units(data, fold.select)}
    if before:
        seen = {
            side: {unit: sorted({*of, *before[side][unit]}) for unit, of in every.items()}
            for side, every in seen.items()
        }
    return seen


def units(data: Dataset, indices: Sequence[int]) -> dict[str, list[str]]:
    """The recordings, speakers and texts of utterances."""
    told = [data.utterances[index] for index in indices]
    values = [data.audio_ids[i] for i in indices], [one.speaker for one in told], [one.text for one in told if one.text]
    return {unit: sorted(set(of)) for unit, of in zip(UNITS, values, strict=True)}


def check(config: Config, data: Dataset, folds: Sequence[Fold]) -> None:
    """Refuse, before there is a run folder, weights that some fold cannot begin with.

    Raises:
        UserError: see ``initial``.
    """
    if config.model.weights and not config.run.resume:
        chain = outline(config.model, len(data.rows), len(data.classes))
        for fold in folds:
            initial(config, chain, data, fold)


def initial(config: Config, chain: Chain, data: Dataset, fold: Fold) -> Initial:
    """The weights of ``model.weights`` for a fold: of the first of that run's models that has not seen what is tested.

    The last block begins anew where the classes differ; every other parameter must have the same name and shape.

    Raises:
        UserError: there is no such run or model, it is another model or had other features, or each of its models has
            seen what this fold tests or selects by.
    """
    given = config.model.weights
    assert given is not None
    if file := pretrained.file_of(config.model):
        pretrained.read(file, chain, config.model)
        record = _record(file, list(dict(chain.named_children()))[-3:], dict.fromkeys(SIDES, UNSEEN))
        return Initial({}, {**record, "pretrained": True}, file)
    folder, files = _models(given)
    _same_features(folder, config)
    seen = ""
    for path in files:
        content = model_file.read(path)
        if not (seen := seen_of(content["seen"], data, fold)):
            return _fitting(path, content, chain, data.classes)
    raise UserError(
        f"model.weights={given} would let fold {fold.index} look better than it is: {seen}; give a run on another "
        f"corpus, or one whose folds are the same, as corpus.*, split.* of its config.yaml make them."
    )


def _models(given: Path) -> tuple[Path, list[Path]]:
    """The run's folder and the models to choose from."""
    if given.suffix == ".pt":
        return given.parent.parent, [given]
    files = [run_folder.fold_folder(given, index) / "model.pt" for index in run_folder.folds(given)]
    if not files:
        raise UserError(f"model.weights={given} must be the folder of a run that has trained a network.")
    return given, files


def _same_features(folder: Path, config: Config) -> None:
    theirs = run_folder.settings(folder)
    for group in ("audio", "features"):
        before, ours = getattr(theirs, group), getattr(config, group)
        for name in type(ours).model_fields:
            if getattr(before, name) != getattr(ours, name):
                raise UserError(
                    f"the weights of {folder} were trained with {group}.{name}={getattr(before, name)}, not "
                    f"{getattr(ours, name)}: their inputs would mean something else; set it so."
                )


def _fitting(path: Path, content: Mapping[str, Any], chain: Chain, classes: tuple[str, ...]) -> Initial:
    weights, theirs, ours = dict(content["weights"]), dict(content["signature"]), chain.signature()
    anew: list[str] = []
    if tuple(content["classes"]) != classes:
        anew = [list(dict(chain.named_children()))[-1]]
        last = {name for name in {**theirs, **ours} if name.startswith(f"{anew[0]}.")}
        for part in (weights, theirs, ours):
            for name in last & part.keys():
                del part[name]
    checkpoint.fits(path, {"signature": theirs}, ours)
    return Initial(weights, _record(path, anew, content["seen"]))


def _record(path: Path, anew: Sequence[str], seen: Sides) -> dict[str, Any]:
    return {"path": str(path.absolute()), "file_digest": file_digest(path), "anew": list(anew), "seen": seen}


def seen_of(seen: Sides, data: Dataset, fold: Fold) -> str:
    """What a model has seen of what a fold is tested or selected by; empty where nothing.

    A recording that the corpus has twice, on both sides of this very fold, is not counted: any model of it has seen
    that, and the audit says so.
    """
    trained = units(data, fold.train)
    for side, indices, against in (("tests", fold.test, ("train", "select")), ("selects by", fold.select, ("train",))):
        asked = units(data, indices)
        twice = {one for before in against for one in units(data, getattr(fold, before))["recording"]}
        for unit in _held_out(fold, trained, asked):
            own = twice if unit == "recording" else ()
            for before in against:
                if both := sorted({*asked[unit]} & {*seen[before][unit]} - {*own}):
                    what = f"{unit} {both[0]}" if unit != "recording" else f"{len(both)} of the recordings"
                    return f"its model was {'trained on' if before == 'train' else 'selected by'} {what} that it {side}"
    return ""


def _held_out(fold: Fold, trained: Mapping[str, list[str]], asked: Mapping[str, list[str]]) -> Iterator[str]:
    """What the sides of a fold are meant not to share."""
    if not {*trained["speaker"]} & {*asked["speaker"]}:
        yield "speaker"
    if "text" in fold.protocol:
        yield "text"
    yield "recording"


def notes(folder: Path, folds: Sequence[int]) -> tuple[str, ...]:
    """What must be said beside the result of a run whose folds began with another run's weights."""
    paths = [run_folder.fold_folder(folder, index) / FILE for index in folds]
    records = [read_json(path) for path in paths if path.exists()]
    if not records:
        return ()
    began = [f"{one['path']} ({one['file_digest'][:12]})" for one in records]
    anew = f", but {', '.join(records[0]['anew'])}" if records[0]["anew"] else ""
    speakers = len({speaker for one in records for speaker in one["seen"]["train"]["speaker"]})
    if not speakers:
        what = "pretrained elsewhere, on speech that is not recorded and may hold what is tested"
        return (f"weights{anew} began as those of {', '.join(dict.fromkeys(began))}, {what}",)
    return (f"weights{anew} began as those of {', '.join(began)}, trained on {speakers} speakers",)
