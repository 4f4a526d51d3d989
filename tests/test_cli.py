from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import wave
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import parallel_ser
from parallel_ser.cli import Shell, app
from parallel_ser.commands.corpus import read
from parallel_ser.config import load
from parallel_ser.errors import UserError
from parallel_ser.report.terminal import progress

HEAVY = {"torch", "numpy", "scipy", "librosa", "sklearn", "soundfile", "matplotlib", "joblib", "pydantic", "yaml"}


def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "120", "PARALLEL_SER_DEBUG": "", **(env or {})})
    return result.exit_code, result.stdout, result.stderr


def record(path: Path, seed: int = 0) -> Path:
    """A quarter of a second of noise at 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = (np.random.default_rng(seed).normal(0, 0.1, 4000) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    return path


@pytest.fixture
def ravdess(tmp_path: Path) -> Path:
    root = tmp_path / "speech"
    for seed, name in enumerate(["03-01-01-01-01-01-01", "03-01-05-02-01-01-01", "03-01-03-01-02-02-01"]):
        record(root / "Actor_01" / f"{name}.wav", seed)
    return root


def commands(command: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The words of every command, groups included."""
    below = getattr(command, "commands", {})
    return [path, *(words for name, child in below.items() for words in commands(child, (*path, name)))]


@pytest.mark.parametrize("words", commands(typer.main.get_command(app)), ids=lambda words: " ".join(words) or "root")
def test_every_command_has_help(words: tuple[str, ...]) -> None:
    status, out, _ = run(*words, "--help")
    assert status == 0
    assert "Usage: " in out


@pytest.mark.parametrize("words", commands(typer.main.get_command(app)), ids=lambda words: " ".join(words) or "root")
def test_the_text_of_a_help_fills_the_width(words: tuple[str, ...]) -> None:
    _, out, _ = run(*words, "--help", env={"COLUMNS": "80"})
    text = [line.strip() for line in re.split("\n\n(?:Arguments|Options):\n", out)[0].splitlines()]
    for line, following in pairwise(text):
        if line and following:
            assert len(f"{line} {following.split()[0]}") > 78, line


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("words", commands(typer.main.get_command(app)), ids=lambda words: " ".join(words) or "root")
def test_a_help_cuts_no_name_no_choice_and_no_sentence(words: tuple[str, ...], width: int) -> None:
    out = CliRunner().invoke(app, [*words, "--help"], terminal_width=width).stdout
    command = reduce(lambda group, word: group.commands[word], words, typer.main.get_command(app))
    written = {word.rstrip(",") for word in out.split()}
    assert {name for one in command.params for name in one.opts if name.startswith("-")} <= written
    assert all(word.endswith(">") for word in written if "|" in word)
    for child in getattr(command, "commands", {}).values():
        assert " ".join(child.help.split("\n\n")[0].split()) in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= width


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, parallel_ser.cli as cli\n"
        "sys.argv = ['parallel-ser', '--help']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "corpus" in done.stdout
    loaded = set(done.stderr.split())
    assert "typer" in loaded
    assert not loaded & HEAVY


def test_version() -> None:
    assert run("--version") == (0, f"parallel-ser {parallel_ser.__version__}\n", "")


def test_unknown_command_is_refused_with_the_nearest() -> None:
    status, out, err = run("corpus", "chek")
    assert (status, out) == (2, "")
    assert "check" in err


def test_check_of_a_sound_corpus(ravdess: Path) -> None:
    status, out, _ = run("corpus", "check", str(ravdess))
    assert status == 0
    assert "ravdess: 3 files" in out
    assert "16000 Hz (3 files)" in out


def test_check_of_a_corpus_with_problems_has_status_1(ravdess: Path) -> None:
    (ravdess / "Actor_01" / "03-01-04-01-01-01-01.wav").touch()
    record(ravdess / "Actor_01" / "notes.wav")
    status, out, _ = run("corpus", "check", str(ravdess), "--name", "ravdess", "--jobs", "1")
    assert status == 1
    assert "03-01-04-01-01-01-01.wav" in out
    assert "notes.wav" in out


def test_check_as_json_says_the_same(ravdess: Path) -> None:
    (ravdess / "Actor_01" / "03-01-04-01-01-01-01.wav").touch()
    status, out, _ = run("corpus", "check", str(ravdess), "--json", "--jobs", "1")
    told = json.loads(out)
    assert status == 1
    assert (told["corpus"], told["files"]) == ("ravdess", 4)
    assert [(one["kind"], one["path"]) for one in told["problems"]] == [("empty", "Actor_01/03-01-04-01-01-01-01.wav")]
    heard = {name: count for name, count in told["utterances"]["ravdess-01"].items() if count}
    assert heard == {"neutral": 1, "happy": 1, "angry": 1, "sad": 1}


def test_a_manifest_is_known_by_being_a_file(tmp_path: Path) -> None:
    record(tmp_path / "a.wav")
    (tmp_path / "list.csv").write_text("path,speaker,emotion\na.wav,ann,anger\n")
    status, out, _ = run("corpus", "check", str(tmp_path / "list.csv"))
    assert status == 0
    assert "manifest: 1 file" in out


def test_a_corpus_is_known_by_its_names_alone(tmp_path: Path, ravdess: Path) -> None:
    assert read(ravdess, None).name == "ravdess"
    record(tmp_path / "tess" / "OAF_angry" / "OAF_back_angry.wav")
    assert read(tmp_path / "tess", None).name == "tess"
    with pytest.raises(UserError, match=r"look like ravdess or tess; say which with --name"):
        read(tmp_path, None)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["empty"], "look like no known corpus; say which with --name: ravdess, tess"),
        (
            ["empty"],
            "a CSV file with the columns path, speaker, emotion: a line such as rec/0001.wav,p01,anger for each",
        ),
        (["empty", "--name", "ravdes"], "no corpus is called ravdes (did you mean ravdess?)"),
        (["empty", "--name", "tess"], "tess: nothing to read in empty"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    status, out, err = run("corpus", "check", *arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err


def test_fetch_asks_for_the_licence_first(tmp_path: Path) -> None:
    status, out, err = run("corpus", "fetch", "ravdess", "--to", str(tmp_path / "to"))
    assert status == 2
    assert "CC BY-NC-SA 4.0" in out
    assert "--accept-licence" in err
    assert not list(tmp_path.iterdir())


def test_fetch_names_what_can_be_fetched(tmp_path: Path) -> None:
    status, _, err = run("corpus", "fetch", "rvdess", "--to", str(tmp_path / "to"), "--accept-licence")
    assert status == 2
    assert err == "error: cannot fetch rvdess (did you mean ravdess?); there is ravdess and tess.\n"


def test_fetch_passes_its_options_and_checks_what_came(
    tmp_path: Path, ravdess: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(name: str, target: Path, accept: bool, base_url: str | None, progress: object, say: object) -> Path:
        assert (name, target, accept, base_url) == ("ravdess", tmp_path / "to", True, "http://localhost:1/files")
        assert callable(progress)
        progress(50, 100)
        assert callable(say)
        say("[terms]")
        return ravdess

    monkeypatch.setattr("parallel_ser.corpora.fetch.fetch", fetch)
    status, out, err = run(
        *("corpus", "fetch", "ravdess", "--to", str(tmp_path / "to")),
        *("--accept-license", "--mirror", "http://localhost:1/files"),
    )
    assert status == 0
    assert "[terms]" in out
    assert "ravdess: 3 files" in out
    assert "fetching ravdess: 50%" in err


def shell(error: BaseException) -> typer.Typer:
    """The shell around one command that ends with an error."""
    ending = typer.Typer(cls=Shell)

    @ending.callback()
    def options(debug: bool = False) -> None:
        pass

    @ending.command()
    def end() -> None:
        raise error

    return ending


@pytest.mark.parametrize(
    ("error", "status", "err"),
    [
        (UserError("no such thing."), 2, "error: no such thing.\n"),
        (UserError("two\nlines."), 2, "error: two lines.\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_ends_a_command_becomes_a_line_and_a_status(error: BaseException, status: int, err: str) -> None:
    result = CliRunner().invoke(shell(error), ["end"])
    assert (result.exit_code, result.stdout, result.stderr) == (status, "", err)


def test_a_bug_is_not_dressed_up() -> None:
    bug = ZeroDivisionError("a bug")
    assert CliRunner().invoke(shell(bug), ["end"]).exception is bug


@pytest.mark.parametrize(("words", "env"), [(["--debug"], {}), ([], {"PARALLEL_SER_DEBUG": "1"})])
def test_debug_adds_the_traceback(words: list[str], env: dict[str, str]) -> None:
    status, _, err = run(*words, "corpus", "check", "nowhere-at-all", env=env)
    assert status == 2
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("error: nowhere-at-all does not exist")


def test_the_installed_command_in_its_own_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from parallel_ser.cli import main; main()", "corpus", "check", "nowhere-at-all"],
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "PARALLEL_SER_DEBUG"},
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: nowhere-at-all does not exist; give the corpus's folder or a manifest's CSV file.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_in_its_own_process(number: signal.Signals) -> None:
    code = (
        "import signal, parallel_ser.commands.corpus as corpus\n"
        f"signal.signal({int(number)}, signal.SIG_DFL)\n"  # which the suite may ignore, under nohup or behind a shell
        f"corpus.read = lambda *_: signal.raise_signal({int(number)})\n"
        "from parallel_ser.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "corpus", "check", "x"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "interrupted\n")


def test_progress_without_a_terminal_is_a_line_every_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("reading") as advance:
        for done in range(1, 41):
            advance(done, 40)
        advance(3, None)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"reading: {percent}%" for percent in range(0, 101, 10)]


@pytest.mark.parametrize(
    ("typed", "right"),
    [
        (["train", "--epochs", "3"], "train.epochs=3"),
        (["train", "--epochs=3", "--nproc", "2"], "train.epochs=3"),
        (["train", "--nproc", "2", "--config", "x.yaml", "--epochs", "3"], "no option --epochs;"),
        (["plan", "--ranks", "2", "--batch-size", "64"], "no option --batch-size;"),
        (["train", "--lr", "1e-3"], "train.learning_rate=1e-3"),
        (["train", "--batch-size", "64"], "train.batch=64"),
        (["plan", "--model.size", "m"], "model.size=m"),
        (["baseline", "svm", "--seed", "7"], "or classical.seed=7"),
        (["bench", "--n-mels", "40"], "features.n_mels=40"),
    ],
)
def test_an_option_that_is_a_setting_says_the_right_form(typed: list[str], right: str) -> None:
    status, out, err = run(*typed)
    assert (status, out) == (2, "")
    assert err.startswith("error: there is no option --")
    assert err.count("\n") == 1
    assert right in err


@pytest.mark.parametrize(
    "typed",
    [
        ["train", "--nproc2", "3"],
        ["train", "--nprocs", "2"],
        ["plan", "--row", "2", "--clases", "3"],
        ["bench", "--strategy", "ddp"],
        ["predict", "run", "a.wav", "--epochs", "3"],
    ],
)
def test_another_wrong_option_is_told_by_its_command(typed: list[str]) -> None:
    status, _, err = run(*typed)
    assert status == 2
    assert "No such option" in err


def test_commands_are_completed_in_a_shell() -> None:
    code = "import sys; sys.argv = ['parallel-ser']; from parallel_ser.__main__ import main; main()"
    asked = {"_PARALLEL_SER_COMPLETE": "complete_bash", "COMP_WORDS": "parallel-ser pr", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["predict", "profile"]


@pytest.mark.parametrize(
    ("typed", "enrolled", "files"),
    [
        (["--enrol", "a", "b", "--", "c"], ["a", "b"], ["c"]),
        (["--enrol", "a", "c"], ["a"], ["c"]),
        (["--enrol", "a", "--enrol", "b", "c", "d"], ["a", "b"], ["c", "d"]),
        (["c", "--enrol", "a", "b", "--json", "--", "d"], ["a", "b"], ["c", "d"]),
    ],
)
def test_what_enrols_is_what_stands_between_the_option_and_the_dashes(
    monkeypatch: pytest.MonkeyPatch, typed: list[str], enrolled: list[str], files: list[str]
) -> None:
    heard: list[list[str]] = []

    class Trained:
        by_speaker, config = True, load(None, [])

        def recognise(self, paths: list[Path], text: str, jobs: int) -> None:
            heard.append([str(path) for path in paths])
            raise UserError("heard.")

    monkeypatch.setattr("parallel_ser.training.inference.Run.open", lambda _: Trained())
    assert run("predict", "run", *typed)[2] == "error: heard.\n"
    assert heard == [[*files, *enrolled]]
