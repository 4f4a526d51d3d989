"""A user's own schedule: read, and refused by the action that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from parallel_ser.errors import UserError
from parallel_ser.parallel.requirements import validate
from parallel_ser.parallel.schedule import csv_file
from parallel_ser.parallel.schedule.actions import Action
from parallel_ser.parallel.schedule.registry import from_file, names, schedule_of
from parallel_ser.parallel.settings import StrategySettings, stage_ranks

OWN = Path(__file__).parent / "own.csv"


def written(folder: Path, text: str) -> Path:
    path = folder / "my.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", names())
def test_what_is_written_is_read(tmp_path: Path, name: str) -> None:
    orders = schedule_of(name).orders(2, 4)
    text = "\n".join(",".join(f"{one.stage}{one.kind}{one.microbatch}" for one in order) for order in orders)
    found = from_file(written(tmp_path, text))
    assert found.orders(2, 4) == orders
    assert found.placement(2) == schedule_of(name).placement(2)
    assert (found.fixed, found.splits_backward) == ((2, 4), schedule_of(name).splits_backward)


def test_empty_cells_are_ranks_that_wait(tmp_path: Path) -> None:
    assert csv_file.read(written(tmp_path, " 0F0 ,, 0B0\n,1F0,1B0,\n\n"))[1] == [Action("F", 1, 0), Action("B", 1, 0)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no actions"),
        ("0F0,0X0\n", "row 1, cell 2: '0X0' is not a stage"),
        ("0F0,(0B0;1F0)OVERLAP_F_B\n", "row 1, cell 2"),
        ("0F0,0F0,0B0\n", "rank 0 has F of micro-batch 0 in stage 0 twice"),
        ("0F0,0B0\n1F0\n", "micro-batch 0 in stage 1 has F, where it needs F and B"),
        ("0F0,0I0\n1F0,1B0\n", "micro-batch 0 in stage 0 has F, I, where it needs F and B"),
        ("0F0,0F1,0B0,0B1\n1F0,1B0\n", "micro-batch 1 in stage 1 has nothing"),
        ("0F0,0B0\n0F1,0B1\n", "stage 0 is on ranks 0 and 1"),
        ("0F0,0B0\n2F0,2B0\n", "stage 1 of 3 is on no rank"),
        ("0F0,1F0,1B0,0B0\n2F0,2B0\n", "ranks hold [1, 2] stages"),
        ("0F0,0B0,0F1,0B1\n1F1,1B1,1F0,1B0\n", "stuck: rank 0 at B of micro-batch 0 in stage 0, rank 1 at F of"),
    ],
)
def test_what_cannot_run_is_refused_by_its_action(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        csv_file.read(written(tmp_path, text))
    assert told in str(caught.value)
    assert "my.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_take_it_and_say_what_it_is_for() -> None:
    settings = StrategySettings.model_validate({"schedule": str(OWN), "microbatches": 8})
    assert settings.schedule == str(OWN.resolve())
    assert stage_ranks(settings, 2) == [0, 1]
    validate(settings, 2, blocks=8)
    with pytest.raises(UserError, match=r"needs strategy\.microbatches to be 8, not 4: .*strategy\.microbatches=8"):
        validate(settings.model_copy(update={"microbatches": 4}), 2, blocks=8)
    with pytest.raises(UserError, match=r"written for 2 processes of a pipeline, not 3: use --nproc 2"):
        validate(settings, 3, blocks=8)
    with pytest.raises(ValidationError, match="did you mean zbv"):
        StrategySettings.model_validate({"schedule": "zbvv"})
    with pytest.raises(UserError, match=r"cannot read the schedule nowhere\.csv"):
        StrategySettings.model_validate({"schedule": "nowhere.csv"})
