"""The corpora whose file names tell all, on tiny trees with the names of the real releases."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from parallel_ser.corpora import crema_d, emodb, emovo, esd, ravdess, savee, tess
from parallel_ser.corpora.base import Corpus
from parallel_ser.corpora.folder import asked_for, audio_files
from parallel_ser.corpora.registry import recognise
from parallel_ser.errors import UserError

READERS = {
    "ravdess": ravdess.read,
    "tess": tess.read,
    "emodb": emodb.read,
    "crema_d": crema_d.read,
    "savee": savee.read,
    "emovo": emovo.read,
    "esd": esd.read,
}


def touch(root: Path, *names: str) -> Path:
    """Files with a little sound; readers go by names alone."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        form = "FLAC" if name.lower().endswith("flac") else "WAV"
        soundfile.write(path, np.full(8, 0.1), 8000, format=form)
    return root


def problems(corpus: Corpus, root: Path) -> list[tuple[str, str]]:
    return [(problem.kind, problem.path.relative_to(root).as_posix()) for problem in corpus.problems]


def test_ravdess_name_is_read_in_full(tmp_path: Path) -> None:
    root = touch(tmp_path, "Actor_12/03-01-06-02-01-02-12.wav", "Actor_07/03-01-02-01-02-01-07.FLAC")
    seven, twelve = ravdess.read(root).utterances
    assert (seven.speaker, seven.sex, seven.emotion) == ("ravdess-07", "male", "calm")
    assert seven.text == "Dogs are sitting by the door"
    assert dict(seven.fields) == {"intensity": "normal", "repetition": "1"}
    assert (twelve.speaker, twelve.sex, twelve.emotion) == ("ravdess-12", "female", "fearful")
    assert twelve.text == "Kids are talking by the door"
    assert dict(twelve.fields) == {"intensity": "strong", "repetition": "2"}
    assert twelve.path == root / "Actor_12/03-01-06-02-01-02-12.wav"


def test_utterances_travel_to_other_processes(tmp_path: Path) -> None:
    corpus = ravdess.read(touch(tmp_path, "Actor_12/03-01-06-02-01-02-12.wav"))
    assert pickle.loads(pickle.dumps(corpus)) == corpus


def test_ravdess_leaves_out_songs_and_videos_and_counts_them(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        "Actor_01/03-01-01-01-01-01-01.wav",
        "Actor_01/03-02-01-01-01-01-01.wav",
        "Actor_01/01-01-01-01-01-01-01.wav",
        "Actor_01/01-01-02-01-01-01-01.wav",
        "Actor_01/01-02-02-01-01-01-01.wav",
    )
    for name in ("01-01-01-01-01-01-01.mp4", "02-01-01-01-01-01-01.mp4", "03-01-01-01-01-01-01.mp3"):
        (root / "Actor_01" / name).write_bytes(b"x")
    corpus = ravdess.read(root)
    assert [utterance.path.stem for utterance in corpus.utterances] == ["03-01-01-01-01-01-01"]
    assert corpus.problems == ()
    assert corpus.classes == ("neutral",)
    assert corpus.notes[0] == (
        "left out of ravdess: .mp3 files (1), .mp4 files (2), songs (1), songs of videos (1), utterances of videos (2)"
    )


def test_songs_alone_are_no_corpus(tmp_path: Path) -> None:
    root = touch(tmp_path, "Actor_01/03-02-01-01-01-01-01.wav", "Actor_01/03-02-02-01-01-01-01.wav")
    with pytest.raises(UserError, match=r"it holds songs \(2\) alone, and no file named like"):
        ravdess.read(root)


@pytest.mark.parametrize(
    ("name", "names", "note"),
    [
        (
            "ravdess",
            [f"Actor_{actor:02d}/03-01-01-01-01-01-{actor:02d}.wav" for actor in range(1, 7)],
            "6 of the 24 speakers of ravdess are here: 07, 08, 09, 10, 11, 12, 13, 14, 15, 16, 17, 18 and 6 more are "
            "missing",
        ),
        ("tess", ["OAF_sad/OAF_back_sad.wav"], "1 of the 2 speakers of tess is here: YAF is missing"),
        ("savee", [f"{name}/a01.wav" for name in ("DC", "JE", "KL")], "3 of the 4 speakers of savee are here: JK is"),
        ("emovo", [f"{s}/dis-{s}-b1.wav" for s in ("f1", "f2", "f3", "m1")], "4 of the 6 speakers .*: m2, m3 are miss"),
        ("emodb", ["wav/03a01Fa.wav"], "1 of the 10 speakers of emodb is here: 08, 09, 10"),
        ("crema_d", ["AudioWAV/1001_DFA_ANG_XX.wav"], "1 of the 91 speakers of crema_d is here: 1002, .* and 78 more"),
        ("esd", ["0011/Angry/0011_000351.wav"], "1 of the 20 speakers of esd is here: 0001"),
    ],
)
def test_speakers_that_are_missing_are_said(tmp_path: Path, name: str, names: list[str], note: str) -> None:
    (said,) = READERS[name](touch(tmp_path, *names)).notes
    assert re.match(note, said)


def test_whoever_has_all_speakers_is_told_nothing(tmp_path: Path) -> None:
    assert ravdess.read(touch(tmp_path, *(f"03-01-01-01-01-01-{a:02d}.wav" for a in range(1, 25)))).notes == ()


def test_savee_has_the_same_names_in_every_speakers_folder(tmp_path: Path) -> None:
    codes = dict(zip(("a", "d", "f", "h", "n", "sa", "su"), savee.CLASSES))
    root = touch(tmp_path, *(f"AudioData/{s}/{code}01.wav" for s in ("DC", "JE", "JK", "KL") for code in codes))
    corpus = savee.read(root)
    assert (len(corpus.utterances), corpus.problems, corpus.notes) == (28, (), ())
    for one in corpus.utterances:
        assert one.speaker == f"savee-{one.path.parent.name}"
        assert one.emotion == codes[one.path.stem[:-2]]
        assert (one.sex, dict(one.fields)) == ("male", {"number": "1"})


def test_savee_without_folders_and_misplaced(tmp_path: Path) -> None:
    root = touch(tmp_path, "all/DC_sa03.wav", "all/kl_n30.wav", "JE/JK_h02.wav", "all/su01.wav")
    corpus = savee.read(root)
    told = [(one.speaker, one.emotion, one.fields["number"]) for one in corpus.utterances]
    assert told == [
        ("savee-DC", "sadness", "3"), ("savee-KL", "neutral", "30"), ("savee-JK", "happiness", "2"),
    ]  # fmt: skip
    assert problems(corpus, root) == [("unparsable name", "all/su01.wav"), ("misplaced", "JE/JK_h02.wav")]


def test_emovo(tmp_path: Path) -> None:
    root = touch(tmp_path, "f1/dis-f1-b1.wav", "m3/tri-m3-n5.wav", "m3/gio-m2-d2.wav", "m3/gio-m3-d3.wav")
    corpus = emovo.read(root)
    told = {(one.speaker, one.sex, one.emotion, one.text) for one in corpus.utterances}
    assert told == {
        ("emovo-f1", "female", "disgust", "b1"),
        ("emovo-m3", "male", "sadness", "n5"),
        ("emovo-m2", "male", "joy", "d2"),
    }
    assert problems(corpus, root) == [("misplaced", "m3/gio-m2-d2.wav"), ("unparsable name", "m3/gio-m3-d3.wav")]


def test_esd_numbers_tell_emotion_and_sentence(tmp_path: Path) -> None:
    numbers = {1: ("neutral", 1), 350: ("neutral", 350), 351: ("angry", 1), 701: ("happy", 1), 1400: ("sad", 350),
               1401: ("surprise", 1), 1750: ("surprise", 350)}  # fmt: skip
    root = touch(
        tmp_path,
        *(f"0011/{emotion.title()}/0011_{number:06d}.wav" for number, (emotion, _) in numbers.items()),
        "0002/Angry/evaluation/0002_000352.wav",
        "0002/Sad/0002_000003.wav",
        "0002/Sad/0002_001751.wav",
    )
    corpus = esd.read(root)
    english = [one for one in corpus.utterances if one.speaker == "esd-0011"]
    assert [(one.emotion, one.text) for one in english if "0011_" in one.path.name] == [
        (emotion, f"English {sentence}") for emotion, sentence in sorted(numbers.values(), key=lambda v: (v[0], v[1]))
    ]
    assert {one.sex for one in english} == {"male"}
    by_name = {one.path.stem: one for one in corpus.utterances}
    held = by_name["0002_000352"]
    assert (held.sex, held.emotion, held.text) == ("female", "angry", "Mandarin 2")
    assert dict(held.fields) == {"language": "Mandarin", "split": "dev"}
    assert dict(by_name["0002_000003"].fields) == {"language": "Mandarin"}
    assert problems(corpus, root) == [
        ("misplaced", "0002/Sad/0002_000003.wav"), ("unparsable name", "0002/Sad/0002_001751.wav"),
    ]  # fmt: skip


def test_each_corpus_is_recognised_by_its_files(tmp_path: Path) -> None:
    trees = {
        "savee": "DC/a01.wav", "emovo": "f1/dis-f1-b1.wav", "esd": "0011/Angry/0011_000351.wav",
        "emodb": "wav/03a01Fa.wav", "ravdess": "Actor_01/03-01-01-01-01-01-01.wav",
        "crema_d": "AudioWAV/1001_DFA_ANG_XX.wav", "tess": "OAF_angry/OAF_back_angry.wav",
    }  # fmt: skip
    for name, example in trees.items():
        assert recognise(touch(tmp_path / name, example), "--name").name == name


def test_ravdess_nested_copy_is_read_once(tmp_path: Path) -> None:
    names = [f"Actor_{actor}/03-01-03-01-01-01-{actor}.wav" for actor in ("01", "02", "03")]
    root = touch(tmp_path, *names, *(f"audio_speech_actors_01-24/{name}" for name in names))
    corpus = ravdess.read(root)
    assert [utterance.path.relative_to(root).as_posix() for utterance in corpus.utterances] == names
    assert problems(corpus, root) == [("duplicate", f"audio_speech_actors_01-24/{name}") for name in names]


def test_ravdess_file_in_another_actors_folder(tmp_path: Path) -> None:
    root = touch(tmp_path, "Actor_04/03-01-05-01-01-01-03.wav", "Actor_04/03-01-05-01-01-01-04.wav")
    corpus = ravdess.read(root)
    assert problems(corpus, root) == [("misplaced", "Actor_04/03-01-05-01-01-01-03.wav")]
    assert "Actor_04" in corpus.problems[0].detail
    assert [utterance.speaker for utterance in corpus.utterances] == ["ravdess-03", "ravdess-04"]


def test_misplaced_copy_yields_to_the_file_in_its_place(tmp_path: Path) -> None:
    root = touch(tmp_path, "Actor_02/03-01-05-01-01-01-03.wav", "Actor_03/03-01-05-01-01-01-03.wav")
    corpus = ravdess.read(root)
    assert [utterance.path.parent.name for utterance in corpus.utterances] == ["Actor_03"]
    assert problems(corpus, root) == [("misplaced", "Actor_02/03-01-05-01-01-01-03.wav")]


@pytest.mark.parametrize("name", ["03-01-09-01-01-01-01", "03-01-05-01-01-01-25", "03-01-05-01-01-01", "noise (1)"])
def test_unparsable_name_is_a_problem(tmp_path: Path, name: str) -> None:
    root = touch(tmp_path, "Actor_01/03-01-01-01-01-01-01.wav", f"Actor_01/{name}.wav")
    corpus = ravdess.read(root)
    assert len(corpus.utterances) == 1
    assert problems(corpus, root) == [("unparsable name", f"Actor_01/{name}.wav")]


def test_tess_names_of_both_releases(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        "OAF_Fear/OAF_back_fear.wav",
        "OAF_neutral/OA_bite_neutral.wav",
        "OAF_Pleasant_surprise/OAF_bar_ps.wav",
        "YAF_pleasant_surprised/YAF_bar_ps.wav",
        "YAF_pleasant_surprise/YAF_back_ps.wav",
        "YAF_disgust/YAF_dog_disgust.wav",
    )
    corpus = tess.read(root)
    assert corpus.problems == ()
    told = {(utterance.speaker, utterance.text, utterance.emotion) for utterance in corpus.utterances}
    assert told == {
        ("tess-OAF", "back", "fear"),
        ("tess-OAF", "bite", "neutral"),
        ("tess-OAF", "bar", "pleasant_surprise"),
        ("tess-YAF", "bar", "pleasant_surprise"),
        ("tess-YAF", "back", "pleasant_surprise"),
        ("tess-YAF", "dog", "disgust"),
    }
    assert {utterance.sex for utterance in corpus.utterances} == {"female"}
    assert corpus.classes == ("disgust", "fear", "pleasant_surprise", "neutral")


def test_tess_nested_copy_and_misplaced_files(tmp_path: Path) -> None:
    nested = "TESS Toronto emotional speech set data/OAF_sad/OAF_back_sad.wav"
    root = touch(
        tmp_path, "OAF_sad/OAF_back_sad.wav", nested, "OAF_sad/OAF_bar_happy.wav", "OAF_sad/YAF_bar_sad.wav",
        "OAF_sad/OAF_bar_sideways.wav",
    )  # fmt: skip
    corpus = tess.read(root)
    assert sorted(problems(corpus, root)) == [
        ("duplicate", nested),
        ("misplaced", "OAF_sad/OAF_bar_happy.wav"),
        ("misplaced", "OAF_sad/YAF_bar_sad.wav"),
        ("unparsable name", "OAF_sad/OAF_bar_sideways.wav"),
    ]


def test_emodb_letters_speakers_and_sentences(tmp_path: Path) -> None:
    letters = {
        "W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral",
    }  # fmt: skip
    speakers = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
    root = touch(tmp_path, *(f"wav/{s}a01{letter}a.wav" for s in speakers for letter in letters), "wav/16b03Tb.wav")
    corpus = emodb.read(root)
    assert len(corpus.utterances) == 71
    assert corpus.classes == ("anger", "boredom", "disgust", "fear", "happiness", "sadness", "neutral")
    for utterance in corpus.utterances:
        assert utterance.emotion == letters[utterance.path.stem[5]]
    sexes = {utterance.speaker.removeprefix("emodb-"): utterance.sex for utterance in corpus.utterances}
    assert [speaker for speaker, sex in sexes.items() if sex == "male"] == ["03", "10", "11", "12", "15"]
    last = corpus.utterances[-1]
    assert last.text.startswith("An den Wochenenden")
    assert dict(last.fields) == {"version": "b"}


def test_crema_d_actors_sentences_intensities(tmp_path: Path) -> None:
    actors = range(1001, 1092)
    root = touch(
        tmp_path,
        *(f"AudioWAV/{actor}_IEO_SAD_LO.wav" for actor in actors),
        "AudioWAV/1001_DFA_ANG_XX.wav",
        "AudioWAV/1040_ITH_SAD_X.wav",
        "AudioWAV/1092_DFA_ANG_XX.wav",
        "AudioWAV/1001_ABC_ANG_XX.wav",
    )
    corpus = crema_d.read(root)
    sexes = {utterance.speaker: utterance.sex for utterance in corpus.utterances}
    assert Counter(sexes.values()) == {"male": 48, "female": 43}  # as the paper says
    assert [sexes[f"crema_d-{actor}"] for actor in (1001, 1002, 1090, 1091)] == ["male", "female", "male", "female"]
    by_name = {utterance.path.stem: utterance for utterance in corpus.utterances}
    assert by_name["1001_DFA_ANG_XX"].emotion == "anger"
    assert by_name["1001_DFA_ANG_XX"].text == "Don't forget a jacket"
    assert by_name["1040_ITH_SAD_X"].fields["intensity"] == "unspecified"
    assert by_name["1001_IEO_SAD_LO"].fields["intensity"] == "low"
    assert {kind for kind, _ in problems(corpus, root)} == {"unparsable name"}
    assert len(corpus.problems) == 2


def test_hidden_and_macos_files_are_passed_over(tmp_path: Path) -> None:
    root = touch(
        tmp_path / ".hidden-parent",
        "b/x.wav",
        "a/y.FLAC",
        "a/._y.FLAC",
        ".cache/z.wav",
        "__MACOSX/a/y.wav",
        "a/deep/er/w.Wav",
    )
    (root / "a" / "notes.txt").write_text("no audio")
    (root / "a" / "loop").symlink_to(root)
    assert [path.relative_to(root).as_posix() for path in audio_files(root)] == [
        "a/deep/er/w.Wav",
        "a/y.FLAC",
        "b/x.wav",
    ]


def test_of_a_folder_asked_for_every_recording_is_taken(tmp_path: Path) -> None:
    names = ["a.aiff", "b.mp3", "c.wav", "deep/d.ogg", "e.m4a", "f.spx"]
    touch(tmp_path, *names)
    (tmp_path / "notes.txt").write_text("no audio")
    for asked in (tmp_path, tmp_path.parent / f"{tmp_path.name[:-1]}?"):
        assert {path.relative_to(tmp_path).as_posix() for path in asked_for(asked)} == set(names)
    assert audio_files(tmp_path) == [tmp_path / "c.wav"]  # of a corpus the others are copies
    (tmp_path / "c.wav").unlink()
    assert [path.name for path in audio_files(tmp_path)] == ["a.aiff", "b.mp3", "d.ogg"]


@pytest.mark.parametrize("name", sorted(READERS))
def test_nothing_to_read_is_told_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path / "other", "noise (1).wav")
    (tmp_path / "file.zip").write_bytes(b"PK")
    for folder, part in {
        "absent": "does not exist",
        "file.zip": "is not a folder",
        "empty": "no .wav, .flac, .mp3 or .ogg",
        "other": "none of its 1 audio files",
    }.items():
        with pytest.raises(UserError, match=f"^{name}: .*{part}") as caught:
            READERS[name](tmp_path / folder)
        assert str(tmp_path / folder) in str(caught.value)
        assert "\n" not in str(caught.value)
