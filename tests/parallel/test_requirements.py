"""What a strategy cannot run is refused by name, with a number that works."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from parallel_ser.errors import UserError
from parallel_ser.parallel.requirements import validate
from parallel_ser.parallel.settings import StrategySettings, microbatch


def settings(**changes: Any) -> StrategySettings:
    return StrategySettings.model_validate(changes)


@pytest.mark.parametrize(
    ("changes", "ranks", "named", "works"),
    [
        ({"name": "single"}, 2, "strategy.name=single", ({"name": "single"}, 1)),
        ({"microbatches": 16}, 9, "strategy.name=pipeline", ({"microbatches": 8}, 8)),
        ({"stages": (2, 4)}, 2, "strategy.stages", ({"stages": (2,)}, 2)),
        ({"stages": (8,)}, 2, "strategy.stages", ({"stages": (7,)}, 2)),
        ({"microbatches": 2}, 3, "strategy.microbatches=3", ({"microbatches": 3}, 3)),
        ({"schedule": "dualpipev"}, 3, "strategy.microbatches=6", ({"schedule": "dualpipev", "microbatches": 6}, 3)),
        ({"schedule": "interleavedzb", "microbatches": 5}, 2, "strategy.microbatches=4", ({"microbatches": 4}, 2)),
        ({"schedule": "zbv"}, 1, "--nproc 2", ({"schedule": "zbv"}, 2)),
        ({"schedule": "zbv", "microbatches": 16}, 5, "--nproc 4", ({"schedule": "zbv"}, 4)),
        ({"name": "tensor_split", "axis": "channel"}, 3, "--nproc 2", ({"name": "tensor_split", "axis": "channel"}, 2)),
        ({"data_parallel": 2}, 3, "--nproc 2", ({"data_parallel": 2}, 2)),
        ({"tensor_parallel": 3, "axis": "channel"}, 6, "strategy.tensor_parallel=2", ({"tensor_parallel": 2}, 6)),
    ],
)
def test_a_refusal_names_the_setting_and_what_works(
    changes: dict[str, Any], ranks: int, named: str, works: tuple[dict[str, Any], int]
) -> None:
    with pytest.raises(UserError) as caught:
        validate(settings(**changes), ranks, blocks=8)
    said = str(caught.value)
    assert named in said
    assert said.endswith(".")
    assert "\n" not in said
    changed, count = works
    validate(settings(**changed), count, blocks=8)


@given(
    changes=st.fixed_dictionaries(
        {
            "name": st.sampled_from(["layer_split", "tensor_split", "pipeline"]),
            "schedule": st.sampled_from(["gpipe", "1f1b", "interleaved1f1b", "loopedbfs", "interleavedzb", "zbv"]),
            "microbatches": st.integers(1, 20),
            "axis": st.sampled_from(["channel", "time"]),
            "data_parallel": st.integers(1, 4),
        }
    ),
    ranks=st.integers(1, 12),
)
def test_following_what_refusals_recommend_leads_to_a_run(changes: dict[str, Any], ranks: int) -> None:
    for _ in range(4):
        try:
            validate(settings(**changes), ranks, blocks=12)
        except UserError as error:
            parts, processes = (re.search(rf"{n}(\d+)", str(error).rpartition(": ")[2]) for n in ("batches=", "nproc "))
            if not (parts or processes):
                raise
            changes = {**changes, **({"microbatches": int(parts[1])} if parts else {})}
            ranks = int(processes[1]) if processes else ranks
        else:
            return
    pytest.fail("still refused")


def test_single_names_the_strategy_for_more_processes() -> None:
    with pytest.raises(UserError, match=r"--nproc 1 .*strategy\.name=pipeline"):
        validate(settings(name="single"), 4, 8)


def test_gpipe_takes_fewer_micro_batches_than_ranks() -> None:
    validate(settings(schedule="gpipe", microbatches=1), 4, 8)


@given(ranks=st.integers(1, 12), blocks=st.integers(1, 12), parts=st.integers(1, 12))
def test_pipeline_runs_exactly_where_every_rank_has_a_block_and_a_micro_batch(
    ranks: int, blocks: int, parts: int
) -> None:
    try:
        validate(settings(microbatches=parts), ranks, blocks)
    except UserError:
        assert ranks > blocks or parts < ranks
    else:
        assert ranks <= blocks
        assert parts >= ranks


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "single", "stages": (2,)},
        {"stages": (3, 3)},
        {"stages": (0, 2)},
        {"stages": (1, 2, 3), "microbatches": 3},
    ],
)
def test_settings_that_no_world_size_can_use_are_refused_at_once(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"strategy\."):
        settings(**changes)


@pytest.mark.parametrize(
    ("changes", "ranks", "utterances"),
    [
        ({"name": "single", "microbatches": 4}, 1, 8),
        ({"microbatches": 4}, 2, 8),
        ({"microbatches": 4, "data_parallel": 2}, 4, 4),  # a copy has half of the batch
        ({"name": "ddp", "microbatches": 4}, 4, 2),
        ({"microbatches": 5}, 2, 7),  # 32 are filled up to 35
        ({"microbatches": 64, "data_parallel": 2}, 4, 1),
    ],
)
def test_a_micro_batch_is_of_a_copys_share(changes: dict[str, Any], ranks: int, utterances: int) -> None:
    assert microbatch(settings(**changes), ranks, 32) == utterances
