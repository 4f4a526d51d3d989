"""What is known of strategies stands in one place: the docs, the command and the settings say the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from parallel_ser.cli import app
from parallel_ser.parallel.settings import StrategySettings, layout
from parallel_ser.parallel.strategies.registry import AUTO, descriptor_of, one_process, strategies

DOCS = Path(__file__).parents[3] / "docs" / "strategies.md"


def test_the_docs_have_each_with_its_own_words() -> None:
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("| `") and "strategy.name" not in line]
    assert rows == [
        f"| `{one.name}` | {one.holds} | {one.sends} |".replace("|  |", "| |") for one in (*strategies().values(), AUTO)
    ]


def test_the_command_lists_them() -> None:
    done = CliRunner().invoke(app, ["strategies", "--json"])
    assert [one["name"] for one in json.loads(done.stdout)] == list(strategies())
    assert "zero1" in CliRunner().invoke(app, ["strategies"], env={"COLUMNS": "80"}).stdout


def test_one_of_them_is_one_process() -> None:
    assert [one for one in strategies().values() if one.most == 1] == [one_process()]


@pytest.mark.parametrize("name", list(strategies()))
def test_its_variants_are_settings_that_it_takes_and_fill_its_ranks(name: str) -> None:
    strategy = descriptor_of(name)
    ranks = strategy.most or 4
    for given in (*strategy.variants(1).values(), *strategy.bench(4).values()):
        settings = StrategySettings(name=name, microbatches=8, **given)
        data, pipeline, tensor = layout(settings, ranks)
        assert data * pipeline * tensor == ranks


@pytest.mark.parametrize("setting", ["tensor_parallel", "data_parallel", "zero", "stages", "rebalance"])
def test_a_setting_that_it_does_not_take_is_refused_with_those_that_do(setting: str) -> None:
    values: dict[str, object] = {"stages": (2,), "zero": 1, "rebalance": True}
    value = values.get(setting, 2)
    for one in strategies().values():
        if setting not in one.takes:
            with pytest.raises(ValidationError, match=r"belongs to strategy\.name="):
                StrategySettings.model_validate({"name": one.name, "microbatches": 8, setting: value})
