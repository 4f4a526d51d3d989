"""What each block of a chain costs on this machine: measured once in one process, kept in the cache.

A block's backward pass is timed whole, and by halves as torch's zero-bubble schedules compute it: gradients of the
input (I) and of the parameters (W). Times are medians; each grows with the micro-batch, so a profile is of one shape.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._pytree import tree_leaves

from parallel_ser.models.batch import Activations, Inputs, differentiable, each, example, leaf, nbytes, tensors
from parallel_ser.models.chain import Chain, call, delay_weight_gradients
from parallel_ser.parallel.cost.partition import block_costs, kind_of
from parallel_ser.system.digests import cached_json, write_json
from parallel_ser.system.environment import processor
from parallel_ser.system.files import cache_folder, cache_key

VERSION = 13
REPEATS = 5
SECONDS = 0.4  # after so long a block has been measured often enough
WHOLE = 2.0  # the same of a chain, on which all its blocks' times depend
HEAVY = 5e9
"""Operations of an utterance's forward pass beyond which several take as many times as long as one."""
BYTES = ("saved", "largest", "delayed", "waiting", "entering", "leaving")
GROWING = ("forward", "backward", "input", "weight", "flops", *BYTES)
"""Fields of a block's profile that grow with the micro-batch, and those of them that are bytes."""


@dataclass(frozen=True)
class BlockProfile:
    """One block at one shape of micro-batch.

    Attributes:
        name: of the block.
        forward: seconds.
        backward: seconds of the whole backward pass.
        input: seconds of its half that gives the input's gradient, and what the forward pass takes longer to allow it.
        weight: seconds of its half that gives the parameters' gradients.
        saved: bytes that are kept of the forward pass for the backward pass, beside the input and the parameters: the
            output among them.
        largest: of these the bytes of the largest tensor.
        delayed: bytes that it keeps instead of ``saved`` where the backward pass is split in two.
        waiting: bytes of gradients that are kept beside them between its halves.
        entering: bytes of the input.
        leaving: bytes of the output.
        parameters: bytes of the parameters.
        trained: of these the bytes of those that are trained.
        flops: floating-point operations of the forward pass.
    """

    name: str
    forward: float
    backward: float
    input: float
    weight: float
    saved: int
    largest: int
    delayed: int
    waiting: int
    entering: int
    leaving: int
    parameters: int
    trained: int
    flops: float


@dataclass(frozen=True)
class BlockProfiles:
    """A chain at one shape of micro-batch ``(batch, channels, rows, frames)``."""

    shape: tuple[int, ...]
    threads: int
    blocks: tuple[BlockProfile, ...]

    def total(self, field: str) -> float:
        """The sum of a field over the blocks."""
        return sum(getattr(block, field) for block in self.blocks)


def profile(
    chain: Chain, given: Sequence[int] | Inputs, bf16: bool = False, folder: Path | None = None, note: str = ""
) -> BlockProfiles:
    """The profile of a chain, from the cache where this machine has measured it with as many threads.

    Of a heavy one an utterance is measured, and its times count as often as there are utterances.

    Args:
        chain: is not changed; float32 on the CPU or on a GPU.
        given: a micro-batch, or its shape.
        bf16: whether it computes in bfloat16.
        folder: of the cache, by default the user's.
        note: what else the times depend on, such as how the blocks are split.
    """
    inputs = example(given, next(chain.parameters()).dtype, "meta")
    if len(inputs) > 1 and is_heavy(chain, inputs):
        one = given.resized(1) if isinstance(given, Inputs) else (1, *given[1:])
        alone = profile(chain, one, bf16, folder, note)
        count, shape = len(inputs), tuple(tensors(inputs.x)[0].shape)
        return replace(alone, shape=shape, blocks=tuple(scaled(block, float(count)) for block in alone.blocks))
    threads = torch.get_num_threads()
    path = (folder or cache_folder()) / "profiles" / f"{_key(chain, given, bf16, threads, note)}.json"
    if kept := cached_json(path):
        blocks = tuple(BlockProfile(**block) for block in kept["blocks"])
        return BlockProfiles(tuple(kept["shape"]), kept["threads"], blocks)
    measured = measure(chain, given, bf16)
    write_json(path, asdict(measured))
    return measured


def is_heavy(chain: Chain, inputs: Inputs) -> bool:
    """Whether one utterance of the inputs takes so many operations that several take as many times as long."""
    return sum(block_costs(chain, inputs.resized(1))) > HEAVY


def scaled(block: BlockProfile, times: float, **given: int) -> BlockProfile:
    """A block's profile with so many times the work, and the same times the bytes where no others are given."""
    grown: dict[str, Any] = {name: times * getattr(block, name) for name in GROWING}
    return replace(block, **{**grown, **{name: round(grown[name]) for name in BYTES}, **given})


def _key(chain: Chain, given: Sequence[int] | Inputs, bf16: bool, threads: int, note: str) -> str:
    """All that a profile depends on."""
    device = next(chain.parameters()).device
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    shape = given.key if isinstance(given, Inputs) else list(given)
    kinds = [type(block).__name__ for block in chain]
    trained = [p.requires_grad for p in chain.parameters()]
    facts = [VERSION, chain.signature(), kinds, trained, shape, bf16, threads, note, place, torch.__version__]
    return cache_key(facts)


def measure(chain: Chain, given: Sequence[int] | Inputs, bf16: bool = False) -> BlockProfiles:
    """Count and time every block on activations of the right shape."""
    from torch.utils.flop_counter import FlopCounterMode

    parameter = next(chain.parameters())
    device = parameter.device
    inputs = example(given, parameter.dtype, device)
    place = "cuda" if device.type == "cuda" else "cpu"
    training = chain.training
    chain.train()
    measured, x, later = [], inputs.x, False  # a gradient enters what is behind a block that is trained
    alike: dict[Any, BlockProfile] = {}
    for name, block in chain.named_children():
        graded, later = later, later or any(p.requires_grad for p in block.parameters())
        entering = each(_channels_last, x)
        kind = graded, kind_of(block, x)
        if kind in alike:
            measured.append(replace(alike[kind], name=name))
            with torch.no_grad(), torch.autocast(place, torch.bfloat16, enabled=bf16):
                x = leaf(call(block, entering, inputs.beside), False)
            continue

        def forward(x: Activations, block: Any = block) -> Activations:
            with torch.autocast(place, torch.bfloat16, enabled=bf16):
                return call(block, x, inputs.beside)

        with FlopCounterMode(display=False) as counter, torch.no_grad():
            forward(entering)
        y, saved, largest = _saved(forward, leaf(entering, graded), block)
        parameters = [p for p in block.parameters() if p.requires_grad]
        own = leaf(entering, graded)
        targets = differentiable(own) + parameters

        def backward(y: Activations, targets: list[Tensor]) -> Callable[[], object]:
            outputs = differentiable(y)
            gradients = [torch.ones_like(one) for one in outputs]
            return lambda: torch.autograd.grad(outputs, targets, gradients, retain_graph=True, allow_unused=True)

        whole = time_of(backward(forward(own), targets), device) if targets else 0.0
        ahead = time_of(lambda forward=forward, own=own: forward(own), device)  # type: ignore[misc]
        of_input, of_weight = 0.0, whole  # without an input's gradient nothing is there to be done first
        delayed, waiting = saved, 0
        if graded and differentiable(own):
            of_input, of_weight = _halves(block, forward, own, ahead, device)
            delayed, waiting = _between_halves(block, forward, own)
        measured.append(
            BlockProfile(
                name=name,
                forward=ahead,
                backward=whole,
                input=of_input,
                weight=of_weight,
                saved=saved,
                largest=largest,
                delayed=delayed,
                waiting=waiting,
                entering=nbytes(x),
                leaving=nbytes(y),
                parameters=nbytes(tuple(block.parameters())),
                trained=nbytes(tuple(p for p in block.parameters() if p.requires_grad)),
                flops=float(counter.get_total_flops()),
            )
        )
        alike[kind] = measured[-1]
        x = leaf(y, False)
    measured = _as_one(measured, chain, inputs, bf16)
    chain.train(training)
    return BlockProfiles(tuple(tensors(inputs.x)[0].shape), torch.get_num_threads(), tuple(measured))


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def estimate(
    chain: Chain,
    given: Sequence[int] | Inputs,
    flops: float,
    visit: Callable[[Activations, Activations, Any], object] | None = None,
    again: Callable[[int], object] | None = None,
) -> BlockProfiles:
    """The profile of a chain on a device that is not here, by arithmetic alone.

    A backward pass takes as long as two forward passes, and each of its halves as long as one.

    Args:
        chain: on the meta device; one pass through it computes nothing and takes no memory.
        given: a micro-batch, or its shape.
        flops: operations a second of the device.
        visit: is called behind each block with its input, its output and the block.
        again: is called instead behind a block that costs what an earlier one did, with the place of that one.
    """
    from torch.utils.flop_counter import FlopCounterMode

    inputs = example(given, next(chain.parameters()).dtype, "meta")
    blocks: list[BlockProfile] = []
    later = False
    x = inputs.x
    alike: dict[object, tuple[int, Activations]] = {}
    for number, (name, block) in enumerate(chain.named_children()):
        graded, later = later, later or any(p.requires_grad for p in block.parameters())
        kind = graded, kind_of(block, x)
        if kind in alike:
            place, x = alike[kind]
            blocks.append(replace(blocks[place], name=name))
            if again:
                again(place)
            continue
        x = leaf(x, graded)
        with FlopCounterMode(display=False) as counter:
            y, saved, largest = _saved(partial(call, block, beside=inputs.beside), x, block)
        delayed, waiting = (
            _between_halves(block, partial(call, block, beside=inputs.beside), x)
            if graded and differentiable(x)
            else (saved, 0)
        )
        if visit:
            visit(x, y, block)
        work = float(counter.get_total_flops())
        blocks.append(
            BlockProfile(
                name=name,
                forward=work / flops,
                backward=2 * work / flops,
                input=work / flops,
                weight=work / flops,
                saved=saved,
                largest=largest,
                delayed=delayed,
                waiting=waiting,
                entering=nbytes(x),
                leaving=nbytes(y),
                parameters=nbytes(tuple(block.parameters())),
                trained=nbytes(tuple(p for p in block.parameters() if p.requires_grad)),
                flops=work,
            )
        )
        alike[kind] = number, y
        x = y
    return BlockProfiles(tuple(tensors(inputs.x)[0].shape), torch.get_num_threads(), tuple(blocks))


def _first_half(
    block: nn.Module, forward: Callable[[Activations], Activations], x: Activations
) -> list[dict[str, Any]]:
    """What torch's pipeline keeps of a block's parameters between the halves of its backward pass."""
    from parallel_ser.parallel.internals.pipelining import stage_backward_input

    inputs = differentiable(x)
    for one in inputs:
        one.grad = None
    outputs = [one * 1.0 for one in differentiable(forward(x))]  # no view, which torch could not detach
    gradients = [torch.ones_like(one) for one in outputs]
    return stage_backward_input(outputs, gradients, inputs, iter(_trained(block)))[1]


def _trained(block: nn.Module) -> list[nn.Parameter]:
    return [p for p in block.parameters() if p.requires_grad]


def _halves(
    block: nn.Module,
    forward: Callable[[Activations], Activations],
    x: Activations,
    ahead: float,
    device: torch.device,
) -> tuple[float, float]:
    """Seconds of a backward pass' halves, done as torch's pipeline does them, where a forward pass takes ``ahead``."""
    from parallel_ser.parallel.internals.pipelining import stage_backward_weight

    delay_weight_gradients(block)
    begun, groups = time_of(lambda: _first_half(block, forward, x), device), _first_half(block, forward, x)
    delay_weight_gradients(block, delayed=False)

    def second() -> object:  # which takes its groups to pieces
        return stage_backward_weight(iter(_trained(block)), [dict(group) for group in groups], retain_graph=True)

    of_weight = time_of(second, device) if groups else 0.0
    for weight in _trained(block):
        weight.grad = None
    return max(1e-9, begun - ahead), of_weight


def _between_halves(block: nn.Module, forward: Callable[[Activations], Activations], x: Activations) -> tuple[int, int]:
    """Bytes that a block's graph keeps where its backward pass is split in two, and of gradients between the halves."""
    delay_weight_gradients(block)
    _, kept, _ = _saved(forward, x, block)
    gradients: dict[StorageWeakRef, int] = {}
    for group in _first_half(block, forward, x):
        for one in tree_leaves(group["grads"]):
            if isinstance(one, Tensor):
                gradients[StorageWeakRef(one.untyped_storage())] = one.untyped_storage().nbytes()
    delay_weight_gradients(block, delayed=False)
    return kept, sum(gradients.values())


def _as_one(blocks: list[BlockProfile], chain: Chain, inputs: Inputs, bf16: bool) -> list[BlockProfile]:
    """Blocks' times, scaled so that their sums are the times of the whole chain.

    A block that is measured alone, again and again, finds its activations in the processor's cache; in a step it does
    not.
    """
    device = next(chain.parameters()).device
    place = "cuda" if device.type == "cuda" else "cpu"
    x = each(_channels_last, inputs.x)
    parameters = [p for p in chain.parameters() if p.requires_grad]

    def forward() -> Activations:
        with torch.autocast(place, torch.bfloat16, enabled=bf16):
            return chain(x, **inputs.beside)

    def both() -> object:
        outputs = differentiable(forward())
        gradients = [torch.ones_like(one) for one in outputs]
        return torch.autograd.grad(outputs, parameters, gradients, allow_unused=True) if parameters else outputs

    ahead, all_of_it = time_of(forward, device, WHOLE), time_of(both, device, WHOLE)
    alone_ahead, alone_back = sum(block.forward for block in blocks), sum(block.backward for block in blocks)
    if not alone_ahead or not alone_back or all_of_it <= ahead:  # nothing was timed, or other work came between
        return blocks
    f, b = ahead / alone_ahead, (all_of_it - ahead) / alone_back
    return [
        replace(one, forward=f * one.forward, backward=b * one.backward, input=b * one.input, weight=b * one.weight)
        for one in blocks
    ]


def _saved(
    forward: Callable[[Activations], Activations], x: Activations, block: nn.Module
) -> tuple[Activations, int, int]:
    """A block's output, and the bytes that its graph keeps beside parameters and input: all, each storage once, and the
    largest. The output counts too: the block behind it or the stage's end keeps it."""
    known = {StorageWeakRef(one.untyped_storage()) for one in (*tensors(x), *block.parameters())}
    kept: dict[StorageWeakRef, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if (key := StorageWeakRef(storage)) not in known:
            kept[key] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = forward(x)
    for one in tensors(y):
        note(one)
    return y, sum(kept.values()), max(kept.values(), default=0)


def time_of(work: Callable[[], object], device: torch.device, seconds: float = SECONDS) -> float:
    """Median seconds of a call, after one that warms up: of as many as fit into ``seconds``, at least two."""
    times: list[float] = []
    work()
    while len(times) < REPEATS and (sum(times) < seconds or len(times) < 2):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times)
