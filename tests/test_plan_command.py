"""``parallel-ser plan``: its winner as a command, and its table at any width."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from parallel_ser.cli import app
from parallel_ser.config import load
from parallel_ser.models.registry import count_blocks, count_parts
from parallel_ser.parallel.requirements import validate

ELSEWHERE = ("--link", "25GB/s,10us", "--device-flops", "4e14")


def plan(*arguments: str, width: int = 80) -> str:
    done = CliRunner().invoke(app, ["plan", *ELSEWHERE, *arguments], env={"COLUMNS": str(width)})
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("given", [(), ("strategy.microbatches=2", "train.batch=8")])
def test_the_winner_is_a_command_to_copy(given: tuple[str, ...], tmp_path: Path) -> None:
    config = tmp_path / "my settings.yaml"
    config.write_text("model: {size: m}\n")
    own = ("--nproc", "4", "--config", str(config), *given)
    command = next(line for line in plan(*own).splitlines() if line.startswith("The fastest: "))
    words = shlex.split(command.removeprefix("The fastest: "))
    assert words[:6] == ["parallel-ser", "train", "--nproc", "4", "--config", str(config)]
    settings = load(config, words[6:])
    best = next(one for one in json.loads(plan(*own, "--json")) if not one["refusal"])
    assert json.loads(settings.strategy.model_dump_json()) == best["settings"]
    assert settings.train.batch == load(config, list(given)).train.batch
    validate(settings.strategy, 4, count_blocks(settings.model), count_parts(settings.model))


@pytest.mark.parametrize("width", [60, 80, 130])
def test_the_table_fits_and_its_figures_are_whole(width: int) -> None:
    text = plan("--nproc", "2", "--rows", "5", width=width)
    table = text.partition("mesh:")[0]
    assert max(map(len, table.splitlines())) <= width
    assert "…" not in text
    best = json.loads(plan("--nproc", "2", "--json"))[:5]
    for one in best:
        row = next(line for line in table.splitlines() if line.startswith(f"{one['name']} "))
        assert f"{1e3 * one['step']:,.1f}" in row.split()
    assert "cuts" in plan("--nproc", "2", "--wide", width=60)
