"""A run on several corpora: what they share is found, and what is left out of each is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import soundfile

from parallel_ser.config import load
from parallel_ser.training.data import prepare

RATE = 16000
TINY = ["features.n_mels=20", "features.hop=0.02", "features.window=0.04", "run.jobs=1"]


def corpus(folder: Path, name: str, seed: int) -> Path:
    """Four speakers, each with two takes of two emotions; returns the manifest."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    rows = ["path,speaker,emotion,corpus,style"]
    for speaker in range(4):
        for emotion in ("joy", "anger"):
            for take, style in enumerate(("read", "free")):
                file = f"{speaker}{emotion}{take}.wav"
                length = int(rng.integers(RATE // 2, RATE))
                soundfile.write(folder / file, np.convolve(rng.normal(0, 0.1, length), rng.normal(0, 1, 8)), RATE)
                rows.append(f"{file},s{speaker},{emotion},{name},{style}")
    (folder / "list.csv").write_text("\n".join(rows))
    return folder / "list.csv"


def test_speakers_are_apart_and_a_copy_in_the_other_corpus_is_found(tmp_path: Path) -> None:
    one, two = corpus(tmp_path / "one", "one", 0), corpus(tmp_path / "two", "two", 1)
    given = [f"corpus.root={one}", f"corpus.also=[{two}]", f"run.cache={tmp_path}/cache", "split.folds=0", *TINY]
    _, folds, audits = prepare(load(None, given))
    assert len(folds) == 8
    assert {audit.test.speakers.shared for audit in audits} == {0}
    assert {audit.test.audio.shared for audit in audits} == {0}
    shutil.copy(tmp_path / "one/0joy0.wav", tmp_path / "two/3joy1.wav")
    data, folds, audits = prepare(load(None, given))
    of = {tuple(audit.speakers["test"]): audit for audit in audits}
    for speakers, audit in of.items():
        assert audit.test.audio.shared == (speakers in [("one-s0",), ("two-s3",)])
    assert "0joy0.wav" in of[("one-s0",)].test.audio.names[0]
    assert "3joy1.wav" in of[("one-s0",)].test.audio.names[0]
    assert "THE SAME RECORDING IS ON BOTH SIDES" in of[("two-s3",)].verdict()
    assert {one.corpus for one in data.utterances} == {"one", "two"}


def test_what_is_chosen_and_left_out_is_said_beside_the_result(tmp_path: Path) -> None:
    one, two = corpus(tmp_path / "one", "one", 0), corpus(tmp_path / "two", "two", 1)
    (tmp_path / "two/0joy0.wav").write_bytes(b"")
    also = f"corpus.also=[{{root: {two}, where: {{style: read}}}}]"
    data, _, _ = prepare(load(None, [f"corpus.root={one}", also, f"run.cache={tmp_path}/cache", *TINY]))
    assert data.notes == (
        "corpus.where takes 8 of 16 utterances of manifest: style read",
        "left out of manifest: 1 empty; parallel-ser corpus check lists them",
    )
    assert len(data.utterances) == 16 + 8 - 1
    assert [problem.path.name for problem in data.left_out] == ["0joy0.wav"]
