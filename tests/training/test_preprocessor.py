"""What a network reads of utterances: frames, and vectors beside them."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commanding import done, refused
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.mixture import GaussianMixture

from parallel_ser.audio.functionals import MEASURES, Functionals
from parallel_ser.config import Config, load
from parallel_ser.corpora.base import Utterance
from parallel_ser.errors import UserError
from parallel_ser.training.data import Dataset
from parallel_ser.training.inference import Run
from parallel_ser.training.predictions import Predictions, concatenate
from parallel_ser.training.preprocessor import Preprocessor
from parallel_ser.training.sample import require_vectors

ROWS = ("pitch", "voicing", "loudness")
SPEAKERS = ("a", "b", "a", "b", "b")
BOTH = ["classical.views=[functionals, supervector]", "classical.mixture.sizes=[2]"]
FUNCTIONALS = 3 * 2 * 8 + 3 * 2 + 3 * 2 * 6 + len(MEASURES)  # statistics, of voiced frames, cosines, measures


def config_of(normalise: str, vectors: int, *more: str) -> Config:
    streams = ["features.streams=[pitch,voicing,loudness]", "classical.mixture.streams=[pitch]", "features.hop=0.01"]
    chosen = ["model.name=resnet1d", f"model.options.vectors={vectors}", f"train.normalise={normalise}"]
    return load(None, [*streams, *chosen, *more])


def hashes_of(path: Path) -> set[int]:
    """Of the arrays in a file of torch's, which are stored one by one."""
    with zipfile.ZipFile(path) as file:
        return {one.CRC for one in file.infolist() if "/data/" in one.filename}


@pytest.fixture
def data() -> Dataset:
    rng = np.random.default_rng(0)
    utterances = tuple(Utterance(Path(f"{place}.wav"), "toy", who, "", "joy") for place, who in enumerate(SPEAKERS))
    frames = [rng.normal(place, 1 + place, (3, 30 + place)).astype(np.float32) for place in range(5)]
    measures = [{name: float(rng.normal()) for name in MEASURES} for _ in range(5)]
    return Dataset(utterances, ("joy",), ROWS, frames, [""] * 5, measures=measures, fingerprints=[b""] * 5)


@pytest.mark.parametrize("normalise", ["train", "speaker"])
def test_functionals_are_standardised_as_the_frames_are(data: Dataset, normalise: str) -> None:
    config = config_of(normalise, FUNCTIONALS)
    training, tested = data.take([0, 1, 2]), data.take([1, 3, 4])
    made = Preprocessor.fit(config, training)(tested).extras["vectors"]
    functionals = Functionals(ROWS, config.functionals, config.features.hop)

    def standard(side: Dataset, by: Dataset) -> np.ndarray:
        rows, others = (
            np.stack([functionals(*pair) for pair in zip(one.frames, one.measures, strict=True)]).astype(np.float64)
            for one in (side, by)
        )
        return np.asarray((rows - others.mean(0)) / np.maximum(others.std(0), 1e-6))

    if normalise == "train":
        truth = standard(tested, training)
    else:  # the tested are all of one speaker; the values are then those of a, less what training speakers have
        scale = np.concatenate([standard(data.take([0, 2]), data.take([0, 2])), np.zeros((1, FUNCTIONALS))])
        truth = (standard(tested, tested) - scale.mean(0)) / np.maximum(scale.std(0), 1e-6)
    varying = np.abs(truth) < 1e3  # the others do not vary
    assert varying.mean() > 0.9
    np.testing.assert_allclose(made.numpy()[varying], truth[varying], rtol=1e-3, atol=1e-3)
    assert made.dtype == torch.float32


def test_supervectors_come_of_the_training_sides_mixture(data: Dataset) -> None:
    config = config_of("train", FUNCTIONALS + 2 * 3, *BOTH)
    training = data.take([0, 1, 2])
    made = Preprocessor.fit(config, training)
    mixture = made.vectors.front.encoders["supervector"].mixture_
    assert isinstance(mixture, GaussianMixture)
    assert mixture.means_.shape == (2, 3)  # pitch, its slope and the slope's
    rows = made(training).extras["vectors"][:, FUNCTIONALS:].double()
    torch.testing.assert_close(rows.mean(0), torch.zeros(6, dtype=torch.float64), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std(0, correction=0), torch.ones(6, dtype=torch.float64), atol=1e-5, rtol=0)
    alone = made(data.take([3])).extras["vectors"]
    torch.testing.assert_close(alone, made(data).extras["vectors"][3:4])  # by train nobody else counts


def test_a_preprocessor_is_kept_whole(data: Dataset, tmp_path: Path) -> None:
    config = config_of("train", FUNCTIONALS + 2 * 3, *BOTH)
    first = Preprocessor.fit(config, data.take([0, 1, 2]))
    path = tmp_path / "state.pt"
    torch.save(first.state, path)
    torch.save(Preprocessor.fit(config, data.take([0, 1, 2])).state, tmp_path / "another.pt")
    assert hashes_of(path) == hashes_of(tmp_path / "another.pt")  # equal trainings give equal files
    again = Preprocessor.from_state(config, torch.load(path, weights_only=True), path)
    one, other = first(data), again(data)
    assert torch.equal(one.extras["vectors"], other.extras["vectors"])
    for mine, theirs in zip(one.frames, other.frames, strict=True):
        assert np.array_equal(mine, theirs)
    some = one.take([3, 1])
    assert np.array_equal(some.frames[0], one.frames[3])
    assert torch.equal(some.extras["vectors"][1], one.extras["vectors"][1])


def test_of_each_view_the_values_stay_that_tell_the_classes_apart(data: Dataset, tmp_path: Path) -> None:
    labels = [0, 1, 0, 1, 1]
    labelled = tuple(replace(one, emotion="ab"[label]) for one, label in zip(data.utterances, labels, strict=True))
    data = replace(data, utterances=labelled, classes=("a", "b"))
    views = [*BOTH, "model.name=mlp", "model.options.keep=5"]
    config = config_of("train", 5 + 5, *views)
    require_vectors(config)
    first = Preprocessor.fit(config, data)
    made = first(data)
    every = Preprocessor.fit(config_of("train", FUNCTIONALS + 2 * 3, *BOTH), data)(data).extras["vectors"].numpy()
    parts = []
    for view in (every[:, :FUNCTIONALS], every[:, FUNCTIONALS:]):
        varies = view[:, np.ptp(view, axis=0) > 0].astype(np.float64)
        parts.append(SelectKBest(f_classif, k=5).fit_transform(np.clip(varies, -4, 4), labels))
    np.testing.assert_allclose(made.extras["vectors"].clamp(-4, 4).numpy(), np.concatenate(parts, axis=1), atol=1e-5)
    assert {one.shape for one in made.frames} == {(3, 1)}  # of the frames nothing is read
    path = tmp_path / "state.pt"
    torch.save(first.state, path)
    again = Preprocessor.from_state(config, torch.load(path, weights_only=True), path)
    assert torch.equal(again(data).extras["vectors"], made.extras["vectors"])


FISHER = "classical.views=[supervector, fisher]"


@pytest.mark.parametrize(
    ("count", "more", "sentence"),
    [
        (7, [], rf"\[functionals\] of classical\.views have {FUNCTIONALS} values together: say .*={FUNCTIONALS}\."),
        (7, [FISHER, "classical.mixture.sizes=[6]"], r"have 54 values together: say model\.options\.vectors=54\."),
        (54, [FISHER, "classical.mixture.sizes=[6, 8]"], r"has several: use classical\.mixture\.sizes=\[6\]"),
        (54, [FISHER, "classical.mixture.streams=[mfcc]"], "mfcc, which is not among features.streams"),
        (
            54,
            ["classical.system=gmm", FISHER, "classical.mixture.covariances=[full]"],
            r"needs diagonal covariances: use classical\.mixture\.covariances=\[diag\]",
        ),
        (7, ["classical.views=[compare]"], "=compare is not: use functionals, correlations, supervector or fisher"),
        (
            7,
            ["model.name=mlp", "model.options.keep=3", FISHER, "classical.mixture.sizes=[1]"],
            r"have 6 values together, 3 of each at the most: say model\.options\.vectors=6\.",
        ),
        (7, ["train.normalise=utterance"], r"use train\.normalise=train or speaker, not utterance"),
        (7, ["model.weights=runs/one"], r"leave model\.weights out, or the vectors"),
        (7, ["features.streams=[encoder]", "features.hop=0.02"], "has no contours to describe"),
    ],
)
def test_vectors_that_cannot_be_made_or_are_of_another_size_are_refused(
    count: int, more: list[str], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        require_vectors(config_of("train", count, *more))


def test_without_vectors_nothing_is_asked_of_the_views() -> None:
    require_vectors(config_of("utterance", 0, "classical.views=[compare]"))


def test_a_file_without_vectors_and_one_of_other_functionals_are_refused(data: Dataset, tmp_path: Path) -> None:
    config, path = config_of("train", FUNCTIONALS), tmp_path / "model.pt"
    first = Preprocessor.fit(config, data)
    state = first.state
    state["vectors"]["names"][0] = "another"
    with pytest.raises(UserError, match="on other values than this version makes"):
        Preprocessor.from_state(config, state, path)(data)
    del state["vectors"]
    with pytest.raises(UserError, match=r"model\.pt is the model of another run"):
        Preprocessor.from_state(config, state, path)


def test_the_number_is_that_of_the_values(data: Dataset) -> None:
    views = "classical.views=[functionals, fisher, correlations, supervector]"
    of_correlations = 6 + 6 * 5 // 2 + 3 * 3 * 3  # of three rows and their slopes
    config = config_of("train", FUNCTIONALS + of_correlations + 3 * 2 * 3, views, "classical.mixture.sizes=[2]")
    require_vectors(config)
    made = Preprocessor.fit(config, data)(data).extras["vectors"]
    assert made.shape == (5, config.model.beside.vectors)


@pytest.mark.parametrize(("normalise", "name"), [("train", "resnet1d"), ("speaker", "resnet1d"), ("train", "mlp")])
def test_a_run_says_what_it_said_in_training(tmp_path: Path, normalise: str, name: str) -> None:
    made = ["corpus.name=synthetic", "corpus.synthetic.speakers=4", "corpus.synthetic.sentences=2", "split.folds=2"]
    features = ["features.streams=[mfcc,pitch]", "features.n_mels=16", "features.n_mfcc=4", "features.hop=0.02"]
    views = [*BOTH, "classical.mixture.streams=[mfcc]", "functionals.statistics=[mean,std]", "functionals.dct=0"]
    count = 2 * 2 * 5 + len(MEASURES) + 2 * 3 * 4
    options = {
        "resnet1d": f"{{width: 16, layers: 1, hidden: 16, branch: 16, vectors: {count}}}",
        "mlp": "{width: 16, keep: 20, vectors: 40}",
    }
    model = [f"model.name={name}", f"model.options={options[name]}"]
    train = ["train.epochs=2", "train.batch=8", "train.copies=1", "train.speed=0.1", "train.threads=1", "run.jobs=1"]
    run = tmp_path / "run"
    more = [f"train.normalise={normalise}", f"run.folder={run}", f"run.cache={tmp_path}/cache"]
    done("train", *made, *features, *views, *model, *train, *more)
    parts, _, _ = Run.open(run).test_own(load(run / "config.yaml", []))
    repeated, written = concatenate(parts), Predictions.from_csv(run / "predictions.csv")
    assert repeated.paths == written.paths
    np.testing.assert_allclose(repeated.probabilities, written.probabilities, atol=2e-5)
    beside = " beside the frames" if name == "resnet1d" else ""
    assert f"reads functionals, supervector{beside}, by" in (run / "card.md").read_text()
    reason = f"reads vectors{beside} and is not exported" if beside else "reads vectors: not exported"
    assert reason in refused("export", run, "--out", tmp_path / "onnx")
