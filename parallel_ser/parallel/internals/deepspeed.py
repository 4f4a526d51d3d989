"""DeepSpeed's pipeline engine: its instructions, each in a span or left out, and the state that its ZeRO keeps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from parallel_ser.parallel.comm.dims import ParallelDims
from parallel_ser.parallel.internals import require_checked
from parallel_ser.parallel.tracing.stats import CommStats

require_checked("deepspeed")

Way = Callable[..., tuple[str, ...]]
"""What is given to an instruction, to the names of the messages that it waits for."""


def measure(engine: Any, schedule: Any, stats: CommStats, grid: ParallelDims) -> None:
    """Let ``stats`` see what the engine does; it does the same as before.

    Of ZeRO the reduction of gradients is timed and not counted, and the gathering of weights is time of the optimizer.

    Args:
        engine: DeepSpeed's, with its final instructions.
        schedule: the module of its instructions.
        stats: of this rank.
        grid: of this rank.
    """
    axis, data = grid.pipeline, grid.data
    known = dict(engine._INSTRUCTION_MAP)

    def spanned(
        name: str, kind: str, way: Way = lambda **_: (), leaving: Callable[..., Any] = lambda *_, **__: ()
    ) -> None:
        """Put an instruction in a span; ``leaving`` finds what it sends."""
        plain = known[getattr(schedule, name)]

        def instruction(engine: Any, **named: Any) -> None:
            where = f"rank {axis.rank}, phase {named['phase']}" if "phase" in named else f"stage {axis.rank}"
            with stats.span(kind, leaving(engine, **named), detail=where, messages=way(**named)):
                plain(engine, **named)

        known[getattr(schedule, name)] = instruction

    spanned("ForwardPass", "forward")
    spanned("BackwardPass", "backward")
    if engine.zero_optimization():
        spanned("ReduceGrads", "all-reduce", lambda **_: data.message() if data.size > 1 else ())
        spanned("OptimizerStep", "optimizer")
    if hasattr(engine, "_p2p_ops"):  # DualPipeV's posts sends and receives, and passes them on together
        known[schedule.CommitP2P] = _commit(
            known[schedule.CommitP2P], stats, axis.ranks[axis.rank] if axis.ranks else 0
        )
        _timed(engine, "_send_tensor_meta", stats, "send", lambda _, stage: axis.message(axis.rank, stage))
        _timed(engine, "_recv_tensor_meta", stats, "receive", lambda stage: axis.message(stage, axis.rank))
    else:
        spanned("SendActivation", "send", lambda **_: axis.message(axis.rank, axis.rank + 1), _activation)
        spanned("RecvActivation", "receive", lambda **_: axis.message(axis.rank - 1, axis.rank))
        spanned("SendGrad", "send", lambda **_: axis.message(axis.rank, axis.rank - 1), _gradient)
        spanned("RecvGrad", "receive", lambda **_: axis.message(axis.rank + 1, axis.rank))
    if axis.size > 1:
        _timed(engine, "_aggregate_total_loss", stats, "broadcast", axis.message)
    engine._INSTRUCTION_MAP = known


def schedule_alone(engine: Any, schedule: Any) -> None:
    """Let the engine run its schedule and nothing after it: no reduction of gradients and no step."""
    ours = dict.fromkeys((schedule.ReduceGrads, schedule.OptimizerStep, schedule.ReduceTiedGrads), _nothing)
    engine._INSTRUCTION_MAP = {**engine._INSTRUCTION_MAP, **ours}


def _nothing(engine: Any, *given: Any, **named: Any) -> None:
    """In place of the engine's own reduction and step."""


def without_compiling() -> None:
    """Leave out DeepSpeed's all-reduce in shared memory, which would be compiled first, for half a minute."""
    from deepspeed import ops

    ops.__compatible_ops__["deepspeed_shm_comm"] = False


def link_state(zero: Any) -> None:
    """Let ZeRO look again which part of the optimizer's state belongs to which parameter."""
    zero._hp_optimizer_states_linked = False
    zero._lazy_init_hp_params_optimizer_state()


def step_counts(zero: Any) -> list[Tensor]:
    """The counts of steps of the flat parts that ZeRO's inner optimizer keeps; all are alike."""
    return [state["step"] for state in zero.optimizer.state.values()]


def make_state(zero: Any) -> None:
    """The optimizer's state of flat parts that have had no step yet: zeros."""
    for flat in zero.single_partition_of_fp32_groups:
        state = zero.optimizer.state[flat]
        if not state:
            state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(flat), "exp_avg_sq": torch.zeros_like(flat)}


def squared_norm(zero: Any) -> Tensor:
    """Of the gradients of this rank's part, in double precision."""
    square = torch.zeros((), dtype=torch.float64, device=zero.device)
    for parts in zero.averaged_gradients.values():
        for part in parts or ():
            square += torch.linalg.vector_norm(part).double().square()
    return square


def _commit(plain: Callable[[Any], None], stats: CommStats, me: int) -> Callable[[Any], None]:
    """Pass on what was posted, receives first as in ``pipelining.runtime``, in one span with all of its messages."""

    def commit(engine: Any) -> None:
        ops: Sequence[Any] = sorted(engine._p2p_ops, key=lambda op: op.op == "isend")
        engine._p2p_ops = ops
        messages: tuple[str, ...] = ()
        for op in ops:
            messages += stats.message((me, op.peer) if op.op == "isend" else (op.peer, me), ">")
        leaving = [op.tensor for op in ops if op.op == "isend"]
        with stats.span("send" if leaving else "receive", leaving, messages=messages):
            plain(engine)

    return commit


def _timed(engine: Any, name: str, stats: CommStats, kind: str, way: Way) -> None:
    """Put a method of the engine in a span."""
    plain = getattr(engine, name)

    @functools.wraps(plain)
    def method(*given: Any) -> Any:
        with stats.span(kind, messages=way(*given)):
            return plain(*given)

    setattr(engine, name, method)


def _activation(engine: Any, buffer_id: int) -> list[Tensor]:
    found = engine.pipe_buffers["outputs"][buffer_id]
    return list(found) if isinstance(found, tuple) else [found]


def _gradient(engine: Any, buffer_id: int) -> list[Tensor]:
    found = engine.pipe_buffers["inputs"][buffer_id]
    return [one.grad for one in (found if isinstance(found, tuple) else (found,)) if one.grad is not None]
