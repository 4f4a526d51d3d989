"""What a network reads of utterances: frames, and functionals beside them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from commanding import done, refused

from parallel_ser.audio.functionals import Functionals
from parallel_ser.config import Config, load
from parallel_ser.corpora.base import Utterance
from parallel_ser.errors import UserError
from parallel_ser.training.data import Dataset, prepare
from parallel_ser.training.inference import Run
from parallel_ser.training.predictions import Predictions, concatenate
from parallel_ser.training.preprocessor import Preprocessor

ROWS = ("pitch", "voicing", "loudness")
SPEAKERS = ("a", "b", "a", "b", "b")
TINY = [
    "corpus.name=synthetic",
    "corpus.synthetic.speakers=4",
    "corpus.synthetic.sentences=2",
    "corpus.synthetic.takes=1",
    "split.folds=2",
    "features.streams=[mfcc,pitch,loudness]",
    "features.n_mels=16",
    "features.n_mfcc=4",
    "features.hop=0.02",
    "features.window=0.04",
    "functionals.statistics=[mean,std]",
    "functionals.dct=0",
    "model.name=resnet1d",
    "train.epochs=2",
    "train.batch=8",
    "train.copies=1",
    "train.speed=0.1",
    "train.threads=1",
    "run.jobs=1",
]
NARROW = "width: 16, layers: 1, groups: 4, hidden: 16, branch: 16"


def config_of(normalise: str) -> Config:
    return load(None, ["model.name=resnet1d", "model.options.functionals=9", f"train.normalise={normalise}"])


@pytest.fixture
def data() -> Dataset:
    rng = np.random.default_rng(0)
    utterances = tuple(Utterance(Path(f"{place}.wav"), "toy", who, "", "joy") for place, who in enumerate(SPEAKERS))
    frames = [rng.normal(place, 1 + place, (3, 20 + place)).astype(np.float32) for place in range(5)]
    measures = [dict.fromkeys(Functionals(ROWS, config_of("train").functionals, 0.01).names, 0.0) for _ in range(5)]
    for place, one in enumerate(measures):
        one.update({name: float(place) for name in _measured()})
    return Dataset(utterances, ("joy",), ROWS, frames, [""] * 5, measures=measures, fingerprints=[b""] * 5)


def _measured() -> tuple[str, ...]:
    from parallel_ser.audio.functionals import MEASURES

    return MEASURES


@pytest.mark.parametrize("normalise", ["train", "speaker"])
def test_functionals_are_standardised_as_the_frames_are(data: Dataset, normalise: str) -> None:
    config = config_of(normalise)
    training, tested = data.take([0, 1, 2]), data.take([1, 3, 4])
    made = Preprocessor.fit(config, training)(tested).extras["functionals"]
    functionals = Functionals(ROWS, config.functionals, config.features.hop)

    def of(side: Dataset) -> np.ndarray:
        return np.stack([functionals(*one) for one in zip(side.frames, side.measures)])

    by = of(training if normalise == "train" else tested)  # the tested are all of one speaker
    deviation = by.std(0)
    varied = deviation > 1e-3
    truth = ((of(tested) - by.mean(0)) / np.where(varied, deviation, 1.0))[:, varied]
    np.testing.assert_allclose(made[:, torch.from_numpy(varied)], truth, rtol=1e-3, atol=1e-3)
    assert made.dtype == torch.float32
    assert varied.sum() > 40


def test_a_preprocessor_is_kept_whole(data: Dataset, tmp_path: Path) -> None:
    config = config_of("train")
    first = Preprocessor.fit(config, data.take([0, 1, 2]))
    torch.save(first.state, tmp_path / "state.pt")
    again = Preprocessor.from_state(config.model, torch.load(tmp_path / "state.pt", weights_only=True))
    one, other = first(data), again(data)
    assert torch.equal(one.extras["functionals"], other.extras["functionals"])
    for mine, theirs in zip(one.frames, other.frames, strict=True):
        assert np.array_equal(mine, theirs)
    some = one.take([3, 1])
    assert np.array_equal(some.frames[0], one.frames[3])
    assert torch.equal(some.extras["functionals"][1], one.extras["functionals"][1])


def test_another_number_of_functionals_is_refused_with_the_right_one(tmp_path: Path) -> None:
    config = load(None, [*TINY, "model.options.functionals=7", f"run.cache={tmp_path / 'cache'}"])
    with pytest.raises(UserError, match=r"functionals=7, and .* make (\d+) of an utterance: say .*functionals=\1\."):
        prepare(config)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("normalise", ["train", "speaker"])
def test_a_run_says_what_it_said_in_training(tmp_path: Path, normalise: str) -> None:
    count = len(Functionals([*(f"mfcc{number}" for number in range(4)), "pitch", "loudness"], _settings(), 0.02).names)
    options = f"model.options={{{NARROW}, functionals: {count}}}"
    run = tmp_path / "run"
    done("train", *TINY, options, f"train.normalise={normalise}", f"run.folder={run}", f"run.cache={tmp_path}/cache")
    config = load(run / "config.yaml", [])
    parts, _, _ = Run.open(run).test_own(config)
    own, written = concatenate(parts), Predictions.from_csv(run / "predictions.csv")
    assert own.paths == written.paths
    np.testing.assert_allclose(own.probabilities, written.probabilities, atol=2e-5)
    assert "reads functionals beside the frames: not exported" in refused("export", run, "--out", tmp_path / "onnx")


def _settings() -> object:
    return load(None, TINY).functionals
