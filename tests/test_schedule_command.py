from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from starting import run as start
from typer.testing import CliRunner

from parallel_ser.cli import app
from parallel_ser.parallel.schedule.registry import schedules


def run(*arguments: str, columns: int = 120) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["schedule", *arguments], env={"COLUMNS": str(columns), "PARALLEL_SER_DEBUG": ""})
    return result.exit_code, result.stdout, result.stderr


def test_tables_timeline_and_picture(tmp_path: Path) -> None:
    status, out, err = run("1f1b", "--ranks", "4", "--microbatches", "8", "--out", str(tmp_path / "t.svg"))
    rows = [line.split() for line in out.splitlines()]
    assert (status, err) == (0, "")
    assert "1f1b: 4 ranks, 8 micro-batches" in out
    for rank, held in enumerate("4321"):
        assert [str(rank), "24", "9", "27.3%", held, held] in rows
    assert ["step", "33", "33", "24"] in rows
    assert "rank 3  . . . 0 0'0'1 1'1'2 2'2'3" in out
    assert "t.svg" in out
    assert (tmp_path / "t.svg").read_text().startswith("<?xml")


def test_json_is_the_whole_record() -> None:
    status, out, _ = run("zbv", "-r", "2", "-m", "4", "--times", "1,1,2", "--transfer", "0.5", "--json")
    record = json.loads(out)
    assert status == 0
    assert (record["schedule"], record["ranks"], record["microbatches"]) == ("zbv", 2, 4)
    assert (record["times"], record["transfer"]) == ({"F": 1, "I": 1, "W": 2, "B": 3}, 0.5)
    assert record["ideal_step"] == 2 * 4 * (1 + 1 + 2)
    assert record["step"] == max(action["end"] for action in record["actions"]) > record["ideal_step"]
    assert record["theory_bubble"] == pytest.approx(1 / 25)
    assert record["theory_step"] == pytest.approx(record["ideal_step"] * 25 / 24)
    assert [row["busy"] + row["idle"] for row in record["per_rank"]] == [record["step"]] * 2
    assert [row["in_flight"] for row in record["per_rank"]] == [row["theory_in_flight"] for row in record["per_rank"]]
    assert len(record["actions"]) == 4 * 4 * 3


def test_a_full_backward_takes_its_two_halves() -> None:
    record = json.loads(run("gpipe", "-r", "1", "-m", "1", "--times", "1,2,4", "--json")[1])
    assert [(one["kind"], one["end"] - one["start"]) for one in record["actions"]] == [("F", 1), ("B", 6)]
    assert json.loads(run("gpipe", "-r", "1", "-m", "1", "--times", "1,2,4,5", "--json")[1])["step"] == 6


def test_the_title_says_what_is_not_by_default() -> None:
    assert run("zbv", "-r", "2", "-m", "3")[1].startswith("zbv: 2 ranks, 3 micro-batches\n")
    out = run("zbv", "-r", "2", "-m", "3", "--times", "1,2,4,5", "--transfer", "0.5")[1]
    assert "zbv: 2 ranks, 3 micro-batches, F 1, I 2, W 4, B 5, transfer 0.5" in out
    assert "F 1, I 1, W 1, B 1" in run("zbv", "-r", "2", "-m", "3", "--times", "1,1,1,1")[1]


def test_one_rank_and_one_micro_batch_are_said_in_the_singular() -> None:
    assert run("layer_split", "-r", "1", "-m", "1")[1].startswith("layer_split: 1 rank, 1 micro-batch\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["1fb1"], "no schedule is called 1fb1 (did you mean 1f1b?); there is layer_split, gpipe, 1f1b"),
        (
            ["1f1b", "-m", "2"],
            "--microbatches to be 4 or more, not 2: the nearest that works is --microbatches 4.",
        ),
        (["dualpipev", "-r", "2", "-m", "3"], "the nearest that works is --microbatches 4."),
        (["interleavedzb", "-m", "9"], "the nearest that works is --microbatches 8."),
        (["zbv", "-r", "1"], "use --ranks 2."),
        (["gpipe", "--times", "1,2"], "--times 1,2 is not three or four times"),
        (["gpipe", "--times", "1,2,3,4,5"], "--times 1,2,3,4,5 is not three or four times"),
        (["gpipe", "--times", "1,x,1"], "--times 1,x,1 is not three or four times"),
        (["gpipe", "--times", "1,nan,1"], "--times 1,nan,1 is not three or four times"),
        (["gpipe", "--times", "0,0,0"], "--times 0,0,0 is not three or four times"),
        (["gpipe", "--times", "1,-1,1"], "--times 1,-1,1 is not three or four times"),
        (["gpipe", "--transfer", "inf"], "--transfer inf is not a time of 0 to 1e9"),
        (["gpipe", "--out", "t.pdf"], "t.pdf has no picture's suffix; use .svg or .png."),
        (["gpipe", "--out", "file/t.svg"], "cannot write file/t.svg: "),
    ],
)
def test_what_cannot_be_played_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("arguments", [["gpipe", "-r", "0"], ["gpipe", "-r", "65"], ["gpipe", "-m", "1025"]])
def test_numbers_out_of_range_are_refused(arguments: list[str]) -> None:
    assert run(*arguments)[0] == 2


def test_playing_a_schedule_loads_no_torch() -> None:
    code = (
        "import sys, parallel_ser.cli as cli\n"
        "sys.argv = ['parallel-ser', 'schedule', 'zbv', '--json']\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert start([sys.executable, "-c", code]).returncode == 0


def test_without_a_name_all_are_listed() -> None:
    status, out, _ = run(columns=200)
    assert status == 0
    for one in schedules().values():
        assert one.name in out
        assert one.summary in out


def test_a_schedule_of_ones_own_is_played(tmp_path: Path) -> None:
    file = tmp_path / "my.csv"
    file.write_text("0F0,0F1,,0B0,0B1\n,1F0,1B0,1F1,1B1\n")
    status, out, err = run("--file", str(file), "--out", str(tmp_path / "t.svg"))
    assert (status, err) == (0, "")
    assert "my.csv: 2 ranks, 2 micro-batches" in out
    assert "rank 0  0 1 . . 0'0'. 1'1'" in out
    record = json.loads(run("--file", str(file), "--json")[1])
    assert (record["step"], record["theory_bubble"]) == (9, None)
    assert run("1f1b", "--file", str(file))[0] == 2
