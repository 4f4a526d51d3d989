"""Networks that read words and speaker embeddings beside the sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

from parallel_ser.cli import app
from parallel_ser.config import load
from parallel_ser.corpora.base import Utterance
from parallel_ser.errors import UserError
from parallel_ser.models.settings import ModelSettings
from parallel_ser.training.data import prepare
from parallel_ser.training.extras import Extras, require_transcripts
from parallel_ser.training.predictions import Predictions

RATE = 16000
TINY = [
    "features.streams=[mfcc]",
    "features.n_mels=16",
    "features.n_mfcc=8",
    "features.hop=0.02",
    "features.window=0.04",
    "run.jobs=1",
    "train.threads=1",
    "split.folds=2",
    "model.name=mscnn_spu_att",
    "model.options={filters: 16, hidden: 16, vocabulary: 40, word_width: 12}",
]
SAID = {"joy": ("lovely", "great", "sunny"), "anger": ("stupid", "awful", "enough")}


def said(path: str, text: str, corpus: str = "talks") -> Utterance:
    return Utterance(Path(path), corpus, "s", "unknown", "joy", text)


def text_model(**options: object) -> ModelSettings:
    return ModelSettings.model_validate({"name": "mscnn_spu", "options": options})


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """Noise that says nothing, and words that say all: four speakers with twelve recordings each."""
    rng = np.random.default_rng(0)
    rows = ["path,speaker,emotion,text"]
    for speaker in range(4):
        for emotion, words in SAID.items():
            for take in range(6):
                file = f"{speaker}{emotion}{take}.wav"
                soundfile.write(tmp_path / file, rng.normal(0, 0.1, int(rng.integers(RATE // 4, RATE // 2))), RATE)
                rows.append(f'{file},s{speaker},{emotion},"It was {words[take % 3]}, {rng.integers(1000)} times."')
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return tmp_path / "list.csv"


def test_what_is_said_is_learnt_and_predicted(talks: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    more = [f"corpus.root={talks}", f"run.folder={run}", "train.epochs=20", "train.batch=8", "train.keep=last"]
    result = CliRunner().invoke(
        app, ["train", *TINY, *more, "train.learning_rate=0.01", "train.warmup=0", "train.ema=0"]
    )
    assert result.exit_code == 0, result.output
    for fold in (0, 1):
        tested = Predictions.from_csv(run / f"fold-{fold}" / "predictions.csv")
        answers = [tested.classes[i] for i in tested.probabilities.argmax(1)]
        assert np.mean(np.array(answers) == np.array(tested.truth)) >= 0.8
    file = str(tmp_path / "0joy0.wav")
    for text, emotion in (("What an awful day", "anger"), ("How sunny", "joy")):
        told = CliRunner().invoke(app, ["predict", str(run), file, "--text", text, "--json"])
        assert told.exit_code == 0, told.output
        assert f'"emotion": "{emotion}"' in told.output
    without = CliRunner().invoke(app, ["predict", str(run), file])
    assert without.exit_code == 2
    assert "the run reads the words that are said" in without.output


def test_a_script_is_no_text() -> None:
    model = text_model()
    own = [said(f"{number}.wav", f"words {number}") for number in range(9)]
    require_transcripts(model, own)
    with pytest.raises(UserError, match="the sentences of ravdess are its script"):
        require_transcripts(model, [*own, said("a.wav", "Kids are talking by the door", "ravdess")])
    with pytest.raises(UserError, match="9 utterances share 2 texts: that is a script"):
        require_transcripts(model, [said(f"{number}.wav", f"Dogs {number % 2}") for number in range(9)])
    with pytest.raises(UserError, match=r"1 of 10 utterances have none, such as a\.wav"):
        require_transcripts(model, [*own, said("a.wav", " -- ")])
    require_transcripts(text_model(text=False), [said("a.wav", "", "ravdess")])


def test_a_run_on_a_script_is_refused_before_its_features(talks: Path, tmp_path: Path) -> None:
    talks.write_text("\n".join(line.split('"')[0] for line in talks.read_text().splitlines()))
    with pytest.raises(UserError, match="48 of 48 utterances have none"):
        prepare(load(None, [*TINY, f"corpus.root={talks}", f"run.cache={tmp_path}/cache"]))
    assert not (tmp_path / "cache").exists()


def test_ids_follow_from_the_training_words_alone() -> None:
    extras = Extras.fit(text_model(vocabulary=3), [said("a.wav", "No, no. Not NOW"), said("b.wav", "not so now")])
    assert extras.words == ("no", "not", "now")
    ids = extras([said("c.wav", "now no word"), said("d.wav", "no " * 200)])["text"]
    assert ids[0, :4].tolist() == [4, 2, 1, 0]
    assert ids.shape == (2, 128)
    assert (ids[1] == 2).all()
    again = Extras.from_state(text_model(vocabulary=3), extras.state)
    assert again == extras


def test_vectors_of_words_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "vectors.txt"
    file.write_text("the 9 9\nno 1 2.5\nother 0 0\n")
    model = text_model(vocabulary=5, word_width=2, word_vectors=str(file))
    extras = Extras.fit(model, [said("a.wav", "no no why")])
    table = torch.full((7, 2), 0.5)
    assert extras.initial(table)["words.table.weight"][:4].tolist() == [[0.5, 0.5], [0.5, 0.5], [1.0, 2.5], [0.5, 0.5]]
    for content, complaint in (
        ("no 1\n", "line 1 .* has 1 values for 'no': model.options.word_width=2"),
        ("no one two\n", "not of GloVe's form"),
        ("dog 1 2\n", "has none of the 2 words"),
    ):
        file.write_text(content)
        with pytest.raises(UserError, match=complaint):
            extras.initial(table)


def test_speaker_embeddings_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    values = np.random.default_rng(0).normal(size=(2, 512))
    np.savez(file, a=values[0], b=values[1], c=np.zeros(3))
    extras = Extras.fit(text_model(xvectors=str(file), text=False), [])
    found = extras([said("x/b.wav", ""), said("a.flac", "")])
    assert found.keys() == {"xvector"}
    np.testing.assert_allclose(found["xvector"], values[[1, 0]], rtol=1e-6)
    with pytest.raises(UserError, match=r"has no array d, for d\.wav"):
        extras([said("d.wav", "")])
    with pytest.raises(UserError, match=r"c has shape \(3,\); 512 numbers"):
        extras([said("c.wav", "")])
    file.write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"is no \.npz of numbers"):
        extras([said("a.wav", "")])


def test_what_cannot_be_mixed_is_refused() -> None:
    with pytest.raises(UserError, match=r"train\.mixup=0\.2 mixes features, and model\.name=mscnn_spu_att reads"):
        load(None, [*TINY, "train.mixup=0.2"])
    with pytest.raises(UserError, match=r"model\.options\.xvectors=gone\.npz is not a file"):
        load(None, ["model.name=mscnn_spu", "model.options.xvectors=gone.npz"])


@pytest.fixture
def iemocap(tmp_path: Path) -> Path:
    """A tree of the release's layout: five sessions of two speakers with five turns each, transcripts beside them."""
    rng, root = np.random.default_rng(0), tmp_path / "IEMOCAP_full_release"
    for session in range(1, 6):
        name = f"Ses0{session}F_impro01"
        folder = root / f"Session{session}"
        labels, texts = folder / "dialog/EmoEvaluation", folder / "dialog/transcriptions"
        sound = folder / "sentences/wav" / name
        for one in (labels, texts, sound):
            one.mkdir(parents=True)
        turns = [
            (f"{name}_{sex}{number:03d}", ["neu", "hap", "exc", "ang", "sad"][number % 5])
            for sex in "FM"
            for number in range(5)
        ]
        rows = [f"[{n}.0 - {n}.5]\t{turn}\t{emotion}\t[2.5, 2.5, 2.5]" for n, (turn, emotion) in enumerate(turns)]
        (labels / f"{name}.txt").write_text("\n".join(rows))
        said = [f"{turn} [00{n}.0-00{n}.5]: This is turn {session} {n}." for n, (turn, _) in enumerate(turns)]
        (texts / f"{name}.txt").write_text("\n".join(said))
        for turn, _ in turns:
            soundfile.write(sound / f"{turn}.wav", rng.normal(0, 0.1, RATE // 2), RATE)
    return root


def test_the_papers_settings_run_on_iemocaps_layout(iemocap: Path, tmp_path: Path) -> None:
    more = [f"corpus.root={iemocap}", "train.epochs=1", "split.only=[0]", f"run.folder={tmp_path}/run", "run.jobs=1"]
    file = Path(__file__).parents[2] / "configs/systems/mscnn_spu_att.yaml"
    result = CliRunner().invoke(app, ["train", "--config", str(file), *more, "train.threads=1", "features.n_mels=32"])
    assert result.exit_code == 0, result.output
    assert "protocol session" in result.output
    tested = Predictions.from_csv(tmp_path / "run/fold-0/predictions.csv")
    assert set(tested.classes) == {"neutral", "happy", "angry", "sad"}
    assert len({speaker[:9] for speaker in tested.speakers}) == 1  # one session
