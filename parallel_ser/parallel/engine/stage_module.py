"""A stage of a chain on one rank: its precision, memory format and way of keeping activations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from parallel_ser.models.batch import Activations, each
from parallel_ser.models.chain import Chain, call


class StageModule(nn.Module):
    """The part of a chain that one rank computes, in one precision, memory format and way of keeping activations.

    Inside, images are channels-last, which made a step of the small CNN half as fast again on a CPU with AVX-512; what
    passes between ranks is contiguous, as torch's pipeline wants it, and of the type ``output_dtype`` (that of
    the parameters where nothing else is said), as its gradient then is.

    Args:
        part: the blocks.
        device: where it computes.
        bf16: whether it computes in bfloat16.
        checkpointing: what is computed again backward: ``none``, each ``stage`` or each ``block``.
        takes_tuple: whether its first block takes a tuple.
        dtype: of the chain's parameters.
        output_dtype: of the floating tensors that go out; as the parameters'.
        differentiable: whether every floating tensor that goes out has a gradient, also where nothing before it is
            trained.
    """

    def __init__(
        self,
        part: Chain,
        device: torch.device,
        bf16: bool = False,
        checkpointing: str = "none",
        takes_tuple: bool = False,
        dtype: torch.dtype = torch.float32,
        output_dtype: torch.dtype | None = None,
        differentiable: bool = False,
    ) -> None:
        super().__init__()
        self.part = part.to(device)
        self.device = device
        self.bf16 = bf16
        self.checkpointing = checkpointing
        self.takes_tuple = takes_tuple
        self.output_dtype = output_dtype or dtype
        self.dtype = dtype
        self.differentiable = differentiable

    def forward(self, *x: Tensor, **beside: Tensor) -> Activations:
        """The chain's output; ``x`` is one tensor, or the tensors of the tuple that its first block takes."""
        floats = x if self.bf16 else tuple(one.to(self.dtype) if one.is_floating_point() else one for one in x)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            computed = self._computed(floats, beside)
        with_gradients = self.differentiable and torch.is_grad_enabled()

        def leaving(y: Tensor) -> Tensor:
            if not y.is_floating_point():
                return y
            out = y.to(self.output_dtype).contiguous()
            # torch's pipeline lets go of an output's storage: it must be no view, and nobody else's
            out = out.clone() if out is y else out
            return out.requires_grad_() if with_gradients else out

        return each(leaving, computed)

    def _computed(self, x: tuple[Tensor, ...], beside: dict[str, Tensor]) -> Activations:
        laid = _Laid.apply(*x)
        y: Activations = laid if self.takes_tuple else laid[0]
        again = self.checkpointing if self.training and torch.is_grad_enabled() else "none"
        if again == "none":
            return _through(self.part, y, beside)
        for piece in ([block] for block in self.part) if again == "block" else (self.part,):
            # blocks draw their random numbers from the seeds, so no generator's state must be kept
            y = checkpoint(_through, piece, y, beside, use_reentrant=False, preserve_rng_state=False)
        return y


def _through(blocks: Any, x: Activations, beside: dict[str, Tensor]) -> Activations:
    for block in blocks:
        x = call(block, x, beside)
    return x


class _Laid(torch.autograd.Function):
    """Images channels-last, others as they are.

    Gradients go out contiguous, for gloo sends no other tensors; of a tensor that nothing used they are zeros.
    """

    @staticmethod
    def forward(ctx: Any, *x: Tensor) -> tuple[Tensor, ...]:
        y = tuple(one.contiguous(memory_format=torch.channels_last) if one.ndim == 4 else one.view_as(one) for one in x)
        ctx.mark_non_differentiable(*(one for one in y if not one.is_floating_point()))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad
        return tuple(one.contiguous() if asked else None for one, asked in zip(gradients, wanted, strict=True))
