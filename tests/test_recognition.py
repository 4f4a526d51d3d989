"""Runs and classical systems from Python; docs/python.md is executed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, cross_val_score

import parallel_ser as ps
from parallel_ser.errors import UserError
from parallel_ser.recognition import Answer
from parallel_ser.training.inference import Run

RATE = 16000
PAGE = Path(__file__).parents[1] / "docs/python.md"
SMALL = ["classical.search.folds=2", "classical.search.keep=[200]", "classical.search.cost=[1.0]"]


def voices(speakers: int = 4, takes: int = 3) -> tuple[list[np.ndarray], list[str], list[str]]:
    """Buzzes that differ in pitch by speaker and in their modulation by emotion."""
    rng, time = np.random.default_rng(0), np.arange(RATE // 2) / RATE
    signals, emotions, people = [], [], []
    for speaker in range(speakers):
        for emotion, speed in (("anger", 9.0), ("sadness", 2.0)):
            for _ in range(takes):
                phase = 2 * np.pi * (110 + 15 * speaker + rng.uniform(-3, 3)) * time
                buzz = sum(0.2 / k * np.sin(k * phase) for k in range(1, 10))
                wave = buzz * (0.55 + 0.4 * np.sin(2 * np.pi * speed * time + rng.uniform(0, 6)))
                signals.append((wave + 0.005 * rng.standard_normal(len(time))).astype(np.float32))
                emotions.append(emotion)
                people.append(f"s{speaker}")
    return signals, emotions, people


@pytest.fixture(scope="module")
def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.S)


def test_the_page_of_runs_is_executed(blocks: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("silero_vad")
    monkeypatch.chdir(tmp_path)
    signals, *_ = voices(1, 1)
    for name, one in zip("ab", signals, strict=True):
        soundfile.write(f"{name}.wav", one, RATE)
    soundfile.write("conversation.wav", np.tile(np.concatenate(signals), 8), RATE)
    names: dict[str, object] = {"signal": signals[0]}
    small = {".m4a": ".wav", 'speakers": 6,': 'speakers": 6, "corpus.synthetic.sentences": 1, "train.threads": 1,'}
    source = blocks[0]
    for mine, theirs in small.items():
        assert mine in source
        source = source.replace(mine, theirs)
    exec(source, names)
    run = names["run"]
    assert isinstance(run, ps.recognition.Trained)
    probabilities = names["probabilities"]
    assert isinstance(probabilities, np.ndarray)
    assert probabilities.shape == (1, len(run.classes_))
    # the same as the run itself says of the same file
    _, rows, _ = Run.open(run.folder).recognise([tmp_path / "a.wav"])
    again = run.predict_proba([tmp_path / "a.wav"])
    np.testing.assert_array_equal(again[0], rows[tmp_path / "a.wav"])
    np.testing.assert_allclose(probabilities, again, atol=1e-3)  # a.wav has 16 bits


def test_each_recording_has_its_answer_or_its_problem(svm_of_python: ps.recognition.Trained, tmp_path: Path) -> None:
    signals, *_ = voices(1, 1)
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    first, bad, short = svm_of_python.predict([signals[0], tmp_path / "bad.wav", signals[1][:100]], rate=RATE)
    assert isinstance(first, Answer)
    assert first.emotion in svm_of_python.classes_
    assert first.probabilities is not None
    assert sum(first.probabilities.values()) == pytest.approx(1.0)
    assert "bad.wav" in bad.problem
    assert short.problem
    with pytest.raises(UserError, match=r"bad\.wav"):
        svm_of_python.predict_proba([tmp_path / "bad.wav"])
    with pytest.raises(UserError, match="signals need their rate"):
        svm_of_python.predict(signals)


@pytest.fixture(scope="module")
def svm_of_python(_own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> ps.recognition.Trained:
    folder = tmp_path_factory.mktemp("python") / "svm"
    corpus = {"corpus.synthetic.speakers": 6, "corpus.synthetic.sentences": 2, "corpus.synthetic.takes": 1}
    settings = {**corpus, "split.only": [0], "run.folder": folder, "run.jobs": 1}
    return ps.train({**settings, **dict(one.split("=") for one in SMALL)}, system="svm")


def test_what_is_wrong_is_the_commands_sentence() -> None:
    with pytest.raises(UserError, match=r"train\.epoch"):
        ps.train({"train.epoch": 3})
    with pytest.raises(UserError, match="is not the folder of a run"):
        ps.load("nowhere")


def test_the_page_of_classifiers_is_executed(blocks: list[str]) -> None:
    signals, emotions, speakers = voices()
    names = {"ps": ps, "signals": signals, "emotions": emotions, "speakers": speakers}
    exec(blocks[1].replace('"classical.search.folds=3"', ", ".join(map(repr, [*SMALL, "run.jobs=1"]))), names)
    classifier = names["classifier"]
    assert isinstance(classifier, ps.Classifier)
    assert classifier.classes_.tolist() == ["anger", "sadness"]
    assert (classifier.predict(signals) == np.array(emotions)).mean() > 0.9
    rows = classifier.predict_proba(signals[:3])
    np.testing.assert_allclose(rows.sum(1), 1.0)


def test_it_takes_part_in_scikit_learns_cross_validation() -> None:
    signals, emotions, speakers = voices(3, 2)
    classifier = ps.Classifier("svm", settings=tuple(SMALL), rate=RATE, jobs=1)
    assert clone(classifier).get_params() == classifier.get_params()
    score = cross_val_score(classifier, signals, emotions, groups=speakers, cv=GroupKFold(3))
    assert score.shape == (3,)
    assert score.mean() > 0.5  # of two classes
