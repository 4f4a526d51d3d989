"""Predictions against closed forms on a chain of equal blocks, and on a machine whose links are known."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from torch import nn
from typer.testing import CliRunner

from parallel_ser.cli import app
from parallel_ser.errors import UserError
from parallel_ser.models.chain import chain_of
from parallel_ser.models.cnn import build
from parallel_ser.models.settings import ModelSettings
from parallel_ser.parallel.compatibility import Behaviour
from parallel_ser.parallel.cost.block_profile import BlockProfile
from parallel_ser.parallel.cost.hardware_model import HardwareModel, Link, described, joined
from parallel_ser.parallel.cost.model_profile import ModelProfile, Part
from parallel_ser.parallel.cost.planner import candidates, plan, predict
from parallel_ser.parallel.schedule.registry import actions
from parallel_ser.parallel.schedule.simulate import in_flight_by_stage
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.parallel.strategies.registry import strategies
from parallel_ser.parallel.tensor.channel import ScatteredRowParallelLinear

BLOCKS, BATCH = 8, 32
WEIGHTS, SAVED, EDGE = 1000, 700, 40  # bytes of a block, and an utterance's
FREE = HardwareModel((1.0,) * 8)


@dataclass
class Equal:
    """ModelProfile of equal blocks, each a second forward and two backward for an utterance."""

    batch: int = BATCH
    update_rate: float = 0.0
    largest: float = 0.0  # bytes for an utterance
    behaviours: dict[str, Behaviour] = field(default_factory=dict)

    @property
    def chain(self) -> list[None]:
        return [None] * BLOCKS

    def part(self, axis: str, size: int, count: float) -> Part:
        share = count / size
        sizes = {
            "saved": SAVED * share,
            "largest": self.largest * share,
            "delayed": 2 * SAVED * share,
            "waiting": SAVED / 4 * share,
            "entering": EDGE * share,
            "leaving": EDGE * share,
        }
        times = {"forward": share, "backward": 2 * share, "input": share, "weight": share}
        weights = WEIGHTS // size if axis == "channel" else WEIGHTS
        block = BlockProfile(name="b", parameters=weights, trained=weights, flops=1.0, **times, **sizes)  # type: ignore[arg-type]
        none = (0,) * BLOCKS
        return Part((block,) * BLOCKS, none, none, none, none)


def predicted(ranks: int, machine: HardwareModel = FREE, limit: float = float("inf"), **changes: Any) -> Any:
    settings = StrategySettings.model_validate({"microbatches": 8, **changes})
    return predict(settings, ranks, Equal(), machine, 8, limit)  # type: ignore[arg-type]


WHOLE = 3 * BLOCKS * BATCH  # seconds of one process


def test_times_are_those_of_the_closed_forms() -> None:
    assert predicted(1, name="single").step == pytest.approx(WHOLE)
    assert predicted(4, name="layer_split").step == pytest.approx(WHOLE)
    for axis in ("time", "channel"):
        assert predicted(4, name="tensor_split", axis=axis).step == pytest.approx(WHOLE / 4)
    assert predicted(4, name="ddp").step == pytest.approx(WHOLE / 4)
    for schedule in ("gpipe", "1f1b"):
        found = predicted(4, name="pipeline", schedule=schedule)
        assert found.step == pytest.approx(WHOLE / 4 * (8 + 3) / 8)
        assert found.bubble == pytest.approx(3 / 11)
        assert found.cuts == (2, 4, 6)
    assert predicted(4, name="pipeline", schedule="interleaved1f1b").bubble == pytest.approx(3 / 19)
    both = predicted(4, name="pipeline", data_parallel=2)
    assert both.step == pytest.approx(WHOLE / 4 * (8 + 1) / 8)
    assert predicted(4, name="pipeline", checkpointing="block").step == pytest.approx(WHOLE / 4 * 4 / 3 * 11 / 8)


def test_memory_counts_state_and_what_is_in_flight() -> None:
    edge, micro = EDGE * BATCH / 8, SAVED * BATCH / 8
    spare = 2 * edge + 2 * WEIGHTS  # an activation and its gradient; copies of a block's weights
    assert predicted(1, name="single").memory == pytest.approx(4 * WEIGHTS * BLOCKS + BLOCKS * micro + edge + spare)
    for schedule, flight in (("gpipe", 8), ("1f1b", 4)):
        found = predicted(4, name="pipeline", schedule=schedule).memory
        assert found == pytest.approx(2 * (4 * WEIGHTS + flight * micro) + flight * edge + spare)
    inside = Equal(largest=3 * EDGE)  # a block holds a larger activation than leaves it
    settings = StrategySettings(name="pipeline", schedule="1f1b", microbatches=8)
    assert predict(settings, 4, inside, FREE, 8).memory == pytest.approx(found + 4 * edge)  # type: ignore[arg-type]
    orders = actions("zbv", 4, 8)  # of eight stages of a block; all but the first have their backward passes in halves
    in_flight = in_flight_by_stage(orders)
    activations = [one.activations * (edge + (2 if stage else 1) * micro) for stage, one in sorted(in_flight.items())]
    waiting = [one.waiting * micro / 4 if stage else 0.0 for stage, one in sorted(in_flight.items())]
    stages = [sum(pair) + 4 * WEIGHTS + spare for pair in zip(activations, waiting, strict=True)]
    zbv = predicted(4, name="pipeline", schedule="zbv").memory
    assert zbv == pytest.approx(max(one + other for one, other in zip(stages, stages[::-1], strict=True)))
    again = predicted(4, name="pipeline", schedule="1f1b", checkpointing="block").memory
    assert again == pytest.approx(2 * (4 * WEIGHTS + 4 * edge) + spare + micro)
    stage = predicted(4, name="pipeline", schedule="1f1b", checkpointing="stage").memory
    assert stage == pytest.approx(2 * 4 * WEIGHTS + 4 * edge + spare + 2 * micro)
    assert predicted(4, replace(FREE, resident=500.0), name="ddp").memory == predicted(4, name="ddp").memory + 500
    assert predicted(4, name="fsdp").memory < predicted(4, name="ddp").memory


def test_what_training_would_refuse_is_no_candidate() -> None:
    chain = Equal(behaviours={"a": Behaviour(split="it fails"), "b": Behaviour(split="it forgets c")})
    refusals = {
        one.name: one.refusal
        for one in plan(4, chain, FREE, 8, StrategySettings(microbatches=8))  # type: ignore[arg-type]
    }
    assert refusals["pipeline 1f1b ×8"] == ""
    assert "block b cannot have its backward pass split" in refusals["pipeline zbv ×8"]
    assert refusals["deepspeed dualpipev ×8"] == ""  # whose backward passes are whole
    own = chain_of(nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)))
    settings = StrategySettings(name="pipeline", microbatches=2)
    assert "changes its buffer" in predict(settings, 2, ModelProfile(own, (4, 8)), FREE, 8).refusal


def test_ranks_that_meet_wait_for_the_slowest() -> None:
    restless = replace(FREE, jitter=0.1)
    for axis in ("time", "channel"):
        assert predicted(4, restless, name="tensor_split", axis=axis).step == pytest.approx(1.1 * WHOLE / 4)
    assert predicted(4, restless, name="layer_split").step == pytest.approx(WHOLE)


def test_between_stages_that_compute_in_bfloat16_half_the_bytes_pass() -> None:
    chain = build(ModelSettings(size="s"), 16, 4, 0)
    settings = StrategySettings(name="layer_split", cut="arithmetic")
    wide, narrow = (
        predict(settings, 2, ModelProfile(chain, (8, 1, 16, 32), bf16, flops=1e9), FREE, 8).sent
        for bf16 in (False, True)
    )
    assert narrow == pytest.approx(wide / 2)


def test_links_and_neighbours_cost_what_they_cost() -> None:
    slow = described(4, latency=0.5, bandwidth=100.0, flops=1.0)
    one = EDGE * BATCH / 8 / 100 + 0.5
    sequential = predicted(4, slow, name="layer_split")
    # there and back over three boundaries, eight times; the norm's sum at the end
    assert sequential.step == pytest.approx(WHOLE + 8 * 2 * 3 * one + slow.within.reduce_latency)
    assert sequential.sent == pytest.approx(2 * 8 * EDGE * BATCH / 8)
    crowded = HardwareModel((1.0, 1.5, 2.0, 3.0))
    assert predicted(4, crowded, name="ddp").step == pytest.approx(WHOLE / 4 * 3)
    assert predicted(4, crowded, name="layer_split").step == pytest.approx(WHOLE)  # one computes at a time
    assert crowded.slower(2.5) == pytest.approx(1.75)
    # two micro-batches, 1 forward and 2 backward: for 3 of 9 both stages are at work, for 6 of the 12 that they work
    two = predicted(2, HardwareModel((1.0, 2.0)), name="pipeline", microbatches=2)
    assert two.step == pytest.approx(9 * (BLOCKS / 2) * (BATCH / 2) * (6 * 1 + 6 * 2) / 12)


def test_what_cannot_run_says_why() -> None:
    assert "8 groups of channels among 3 processes" in predicted(3, name="tensor_split", axis="channel").refusal
    assert "more than 32 utterances" in predicted(2, name="ddp", microbatches=32).refusal
    tight = predicted(4, name="pipeline", limit=5000.0)
    assert "no cut into 4 stages keeps every rank within 5000 bytes" in tight.refusal


def test_the_plan_is_ranked_and_complete() -> None:
    found = plan(4, Equal(), FREE, 8, StrategySettings())  # type: ignore[arg-type]
    good = [one for one in found if not one.refusal]
    assert [one.step for one in good] == sorted(one.step for one in good)
    assert all(one.refusal for one in found[len(good) :])
    names = [one.name for one in found]
    assert len(names) == len(set(names))
    assert {one.settings.name for one in found} == set(strategies()) - {"single"}
    for settings in candidates(4, BATCH, StrategySettings()):
        assert StrategySettings.model_validate(settings.model_dump()) == settings
    with pytest.raises(UserError, match="no strategy runs on 1 processes"):
        plan(1, Equal(), FREE, 8, StrategySettings(), limit=10.0)  # type: ignore[arg-type]


def test_parts_of_split_blocks_are_measured_alone() -> None:
    chain = build(ModelSettings(size="s"), rows=16, classes=4, seed=0)
    facts = ModelProfile(chain, (8, 1, 16, 64), flops=1e9)
    whole, time, channel = facts.part("time", 1, 4), facts.part("time", 2, 4), facts.part("channel", 2, 4)
    levels = slice(1, 5)
    for halved in (time, channel):
        assert sum(b.flops for b in halved.blocks[levels]) < 0.65 * sum(b.flops for b in whole.blocks[levels])
        assert all(halved.collectives[levels])
    assert time.halo_bytes[1] > 0
    assert not any(channel.halos)
    assert sum(time.halo_bytes) < sum(channel.collective_bytes) / 4
    assert facts.part("time", 4, 4).halo_bytes[1] == 2 * time.halo_bytes[1]  # both ways, where a rank is in the middle
    assert sum(b.parameters for b in time.blocks) == sum(b.parameters for b in whole.blocks)
    assert sum(b.parameters for b in channel.blocks) < 0.6 * sum(b.parameters for b in whole.blocks)
    assert whole.blocks[1].forward == pytest.approx(whole.blocks[1].flops / 1e9)


def test_a_models_own_rules_split_its_blocks() -> None:
    chain = chain_of(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)))
    assert not any(ModelProfile(chain, (4, 8), flops=1e9).part("channel", 2, 4).collectives)
    chain.rules = {"channel": {nn.Linear: ScatteredRowParallelLinear}}
    split = ModelProfile(chain, (4, 8), flops=1e9).part("channel", 2, 4)
    assert all(split.collectives)
    assert split.blocks[0].parameters == 4 * (8 * 8 // 2 + 8)


def test_between_machines_everything_takes_their_link() -> None:
    """Two machines of two ranks, within which nothing takes time; a link of 10 s and 8 bytes a second."""
    pair = joined(FREE, 2, 4, latency=10.0, bandwidth=8.0)
    assert pair.between == Link(10.0, 8.0, 20.0, 8.0, scatter=2.0, gather=1.5)
    assert pair.among([0, 1]) is FREE.within
    assert pair.among([1, 2], groups=2).send(8.0) == 10 + 2
    assert pair.wire(1, 2) == pair.wire(0, 3) == 0  # the first machine's link
    assert pair.wire(0, 1) == FREE.wire(0, 1) != FREE.wire(1, 0)
    size = BLOCKS * WEIGHTS
    # a ring over both machines, and the norm; a copy on each machine, of which both ranks send at once
    ddp = predicted(4, pair, name="ddp").step - predicted(4, FREE, name="ddp").step
    assert ddp == pytest.approx(2 * 20 + 2 * 3 / 4 * size / 8)
    # gathers twice a share of others, and sums gradients as an all-reduce does, as gloo has no other way
    shares = predicted(4, pair, name="fsdp").step - predicted(4, FREE, name="fsdp").step
    assert shares == pytest.approx((2 + 8 * 3 * BLOCKS) * 20 + 8 * (2 + 2) * 3 * size / 4 / 8)
    copies = {"name": "pipeline", "microbatches": 8, "data_parallel": 2}
    for cut in (BLOCKS // 2, BLOCKS // 4):  # each stage's gradients, all through the one link
        halves = predicted(4, pair, **copies, stages=[cut]).step - predicted(4, FREE, **copies, stages=[cut]).step
        assert halves == pytest.approx(2 * 20 + 2 * 1 / 2 * size / 8)
    # on two machines of a rank each gathering sends half as much again as it needs to
    two = [predicted(2, one, name="fsdp").step for one in (joined(FREE, 2, 2, latency=0.0, bandwidth=8.0), FREE)]
    assert two[0] - two[1] == pytest.approx(8 * (2 * 1.5 + 2) * size / 2 / 8)
    # of four stages the middle boundary alone, which each micro-batch of 4 utterances fills for 20 s, there and back
    chain = predicted(4, pair, name="pipeline", microbatches=8)
    assert chain.step >= predicted(4, FREE, name="pipeline", microbatches=8).step + 2 * (10 + 20)
    narrow = predicted(4, joined(FREE, 2, 4, latency=0.0, bandwidth=0.08), name="pipeline", microbatches=8)
    assert narrow.step >= 8 * 4 * EDGE / 0.08  # one after another, while what comes back passes beside it
    apart = predicted(2, joined(FREE, 2, 2, latency=10.0, bandwidth=8.0), name="tensor_split", axis="time")
    assert apart.step > predicted(2, FREE, name="tensor_split", axis="time").step


@dataclass
class Narrow(Equal):
    """The same, of which the sixth block gives a thousandth."""

    def part(self, axis: str, size: int, count: float) -> Part:
        part = super().part(axis, size, count)
        blocks = list(part.blocks)
        blocks[5] = replace(blocks[5], leaving=blocks[5].leaving / 1000)
        return replace(part, blocks=tuple(blocks))


def test_a_pipeline_between_machines_is_cut_where_little_passes() -> None:
    pair = joined(FREE, 2, 4, latency=0.0, bandwidth=0.08)
    settings = StrategySettings(name="pipeline", microbatches=8)
    by_hand = settings.model_copy(update={"stages": (2, 4, 6)})
    best, even = (predict(one, 4, Narrow(), pair, 8) for one in (settings, by_hand))  # type: ignore[arg-type]
    assert best.cuts == best.settings.stages == (3, 6, 7)  # three blocks, and little on the way
    assert best.step < even.step / 10
    assert even.step >= 8 * 4 * EDGE / 0.08
    here = predict(settings, 4, Narrow(), FREE, 8)  # type: ignore[arg-type]
    assert (here.cuts, here.settings.stages) == ((2, 4, 6), ())  # as training cuts by itself


def test_gradients_of_a_single_micro_batch_grow_while_activations_shrink() -> None:
    state = BLOCKS * WEIGHTS * (1 + 2)  # weights and AdamW's moments
    going = 2 * EDGE * BATCH + 2 * WEIGHTS  # the last block goes backward
    activations = BLOCKS * SAVED * BATCH + EDGE * BATCH
    alone = predicted(1, name="single", microbatches=1).memory
    assert alone == pytest.approx(state + activations + going)
    several = predicted(1, name="single", microbatches=2).memory
    assert several == pytest.approx(state + BLOCKS * WEIGHTS + activations / 2 + going - EDGE * BATCH)
    copies = predicted(2, name="ddp", microbatches=1).memory  # whose gradients lie in buckets
    assert copies == pytest.approx(several)


def test_a_cut_that_memory_asks_for_is_part_of_the_settings() -> None:
    cheap = predicted(2, name="pipeline")
    tight = predicted(2, name="pipeline", limit=0.9 * cheap.memory)
    assert not tight.refusal
    assert tight.settings.stages == tight.cuts != cheap.cuts


def test_the_command_plans_for_several_machines_like_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from parallel_ser.parallel.cost import hardware_model

    monkeypatch.setattr(hardware_model, "probe", lambda ranks, threads, share: HardwareModel((1.0,) * ranks))
    fast, slow = (
        json.loads(
            CliRunner().invoke(app, ["plan", "-n", "4", "--machines", "2", "--link", link, "--json", *SMALL]).stdout
        )
        for link in ("100GB/s,1us", "1MB/s,1ms")
    )
    assert {one["name"] for one in fast} == {one["name"] for one in slow}
    assert fast[0]["step"] < slow[0]["step"]
    command = CliRunner().invoke(app, ["plan", "-n", "4", "--machines", "2", "--link", "1MB/s,1ms", *SMALL]).stdout
    start = (
        "The fastest, on each machine: torchrun --nnodes=2 --nproc_per_node=2 --node_rank=NUMBER --master_addr=FIRST"
    )
    assert f"{start} launch/train.py" in command


SMALL = ["train.batch=4", "--seconds", "0.3"]
FAR = ["plan", "--ranks", "4", "--link", "25GB/s,10us", "--device-flops", "4e14", "train.batch=16"]


def test_the_command_plans_for_a_machine_that_is_not_here() -> None:
    done = CliRunner().invoke(app, [*FAR, "--json"])
    assert done.exit_code == 0, done.output
    records = json.loads(done.stdout)
    assert records[0]["step"] <= records[1]["step"]
    table = CliRunner().invoke(app, [*FAR, "--rows", "3", "--memory-per-rank", "200MiB"], env={"COLUMNS": "160"})
    assert table.exit_code == 0, table.output
    assert records[0]["name"] in table.stdout
    assert "refused:" in table.stdout


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--link", "fast"], "needs --link and --device-flops"),
        (["--machines", "2"], "need --link and --machines"),
        (["--link", "1GB/s,1us", "--machines", "2", "--device-flops", "1e12"], "need --link and --machines"),
        (["--link", "1GB/s,1us", "--machines", "2", "--nproc", "3"], "--nproc 3 does not divide by --machines 2"),
        (["--link", "fast", "--device-flops", "1e12"], "--link fast is not RATE,LATENCY"),
        (["--link", "1GB/s,1.2.3us", "--device-flops", "1e12"], "--link 1GB/s,1.2.3us is not RATE,LATENCY"),
        (["--link", "1GB/s,.us", "--device-flops", "1e12"], "--link 1GB/s,.us is not RATE,LATENCY"),
        (["--link", "5XB/s,1us", "--device-flops", "1e12"], "--link 5XB is no size"),
        (["--memory-per-rank", "lots"], "--memory-per-rank lots is no size"),
    ],
)
def test_a_machine_that_cannot_be_read_is_refused(given: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["plan", *given])
    assert done.exit_code == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
