"""Commands on files with hostile names and contents: each file has its answer or its sentence, and nobody waits."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from starting import run

from parallel_ser.system.terminal import cell, text_of

RATE = 16000
ODD = b"\xff\xe9.wav"
ESCAPE = "a\x1b[31mred\nerror: fake.wav"


def noise(path: Path, peak: float = 0.0, seed: int = 0) -> Path:
    """A second of noise, perhaps with one sample that is none."""
    signal = np.random.default_rng(seed).normal(0, 0.1, RATE)
    signal[0] = peak or signal[0]
    with path.open("wb") as file:
        soundfile.write(file, signal, RATE, format="WAV", subtype="FLOAT")
    return path


def said(*arguments: object, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    done = run([sys.executable, "-m", "parallel_ser", *map(str, arguments)], env={**os.environ, **(env or {})})
    assert "Traceback" not in done.stderr, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_one_bad_file_does_not_take_the_others_answers(svm_run: Path, tmp_path: Path, form: tuple[str, ...]) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + ODD))
    files = [
        noise(tmp_path / "good.wav"),
        noise(tmp_path / "loud.wav", 1e37),
        noise(tmp_path / "none.wav", np.nan),
        tmp_path / "pipe.wav",
        tmp_path / "missing.wav",
        noise(odd),
        noise(tmp_path / ESCAPE),
    ]
    status, out, err = said("predict", svm_run, *files, *form)
    assert status == 2
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    for name in ("loud.wav", "none.wav", "pipe.wav", "missing.wav"):
        assert sum(name in line for line in errors) == 1, err
    if form:
        rows = [json.loads(line) for line in out.splitlines()]
        assert [row["file"] for row in rows] == [str(files[0]), str(odd), str(files[6])]
    else:
        assert "good.wav" in out
        assert "\\udcff" in out


def test_a_corpus_with_hostile_names_is_checked(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    noise(folder / "03-01-03-01-01-01-01.wav")
    noise(folder / ESCAPE)
    noise(Path(os.fsdecode(os.fsencode(folder) + b"/" + ODD)))
    os.mkfifo(folder / "03-01-04-01-01-01-01.wav")
    status, out, _ = said("corpus", "check", folder, "--name", "ravdess")
    assert status == 1
    assert r"a\x1b[31mred\nerror: fake.wav" in out
    assert r"\udcff" in out
    assert "is a pipe" in out


def test_an_error_about_a_hostile_name_is_one_line(tmp_path: Path) -> None:
    status, _, err = said("corpus", "check", tmp_path / ESCAPE)
    assert status == 2
    assert err.count("\n") == 1
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/" + ODD)
    status, _, err = said("corpus", "check", odd)
    assert status == 2
    assert r"\udcff" in err


FORMULA = "=cmd|'/c calc'!A1"


def test_no_table_holds_a_formula(tmp_path: Path) -> None:
    rows = ["path,speaker,emotion,text"]
    for place in range(2):
        noise(tmp_path / f"{place}.wav", seed=place)
        rows.append(f'{place}.wav,+s{place},joy,"{FORMULA}"')
    (tmp_path / "m.csv").write_text("\n".join(rows))
    status, _, err = said("features", "--out", tmp_path / "table.csv", f"corpus.root={tmp_path}/m.csv")
    assert status == 0, err
    table = (tmp_path / "table.csv").read_text()
    assert f"'{FORMULA}" in table
    assert all(not field.startswith(("=", "+", "@")) for line in table.splitlines() for field in line.split(","))


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@x", "\tx", "\rx", "'", "''", "'=1", "joy", "", "1", "a=b"])
def test_a_cell_comes_back(text: str) -> None:
    assert text_of(cell(text)) == text
    assert not cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))
