"""DeepSpeed's pipeline engine with its times taken and what it sends counted: its instructions, each in a span."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from parallel_ser.parallel.grid import Grid
from parallel_ser.parallel.meter import Meter

Way = Callable[..., tuple[str, ...]]
"""What is given to an instruction, to the names of the messages that it waits for."""


def measure(engine: Any, schedule: Any, meter: Meter, grid: Grid) -> None:
    """Let ``meter`` see what the engine does; it does the same as before.

    Of ZeRO the reduction of gradients is timed and not counted, and the gathering of weights is time of the optimizer.

    Args:
        engine: DeepSpeed's, with its final instructions.
        schedule: the module of its instructions.
        meter: of this rank.
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
            with meter.span(kind, leaving(engine, **named), detail=where, messages=way(**named)):
                plain(engine, **named)

        known[getattr(schedule, name)] = instruction

    spanned("ForwardPass", "forward")
    spanned("BackwardPass", "backward")
    if engine.zero_optimization():
        spanned("ReduceGrads", "all-reduce", lambda **_: data.message() if data.size > 1 else ())
        spanned("OptimizerStep", "optimizer")
    if hasattr(engine, "_p2p_ops"):  # DualPipeV's posts sends and receives, and passes them on together
        known[schedule.CommitP2P] = _commit(
            known[schedule.CommitP2P], meter, axis.ranks[axis.rank] if axis.ranks else 0
        )
        _timed(engine, "_send_tensor_meta", meter, "send", lambda _, stage: axis.message(axis.rank, stage))
        _timed(engine, "_recv_tensor_meta", meter, "receive", lambda stage: axis.message(stage, axis.rank))
    else:
        spanned("SendActivation", "send", lambda **_: axis.message(axis.rank, axis.rank + 1), _activation)
        spanned("RecvActivation", "receive", lambda **_: axis.message(axis.rank - 1, axis.rank))
        spanned("SendGrad", "send", lambda **_: axis.message(axis.rank, axis.rank - 1), _gradient)
        spanned("RecvGrad", "receive", lambda **_: axis.message(axis.rank + 1, axis.rank))
    if axis.size > 1:
        _timed(engine, "_aggregate_total_loss", meter, "broadcast", axis.message)
    engine._INSTRUCTION_MAP = known


def _commit(plain: Callable[[Any], None], meter: Meter, me: int) -> Callable[[Any], None]:
    """Pass on what was posted, in one span with all of its messages."""

    def commit(engine: Any) -> None:
        ops: Sequence[Any] = engine._p2p_ops
        messages: tuple[str, ...] = ()
        for op in ops:
            messages += meter.message((me, op.peer) if op.op == "isend" else (op.peer, me), ">")
        leaving = [op.tensor for op in ops if op.op == "isend"]
        with meter.span("send" if leaving else "receive", leaving, messages=messages):
            plain(engine)

    return commit


def _timed(engine: Any, name: str, meter: Meter, kind: str, way: Way) -> None:
    """Put a method of the engine in a span."""
    plain = getattr(engine, name)

    @functools.wraps(plain)
    def method(*given: Any) -> Any:
        with meter.span(kind, messages=way(*given)):
            return plain(*given)

    setattr(engine, name, method)


def _activation(engine: Any, buffer_id: int) -> Tensor:
    found: Tensor = engine.pipe_buffers["outputs"][buffer_id]
    return found


def _gradient(engine: Any, buffer_id: int) -> Tensor:
    found: Tensor = engine.pipe_buffers["inputs"][buffer_id].grad
    return found
