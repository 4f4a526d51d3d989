"""A stage of a chain on one rank: its precision, memory format and way of keeping activations."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from parallel_ser.models.chain import Chain


class Placed(nn.Module):
    """The part of a chain that one rank computes, in one precision, memory format and way of keeping activations.

    Inside, images are channels-last, which made a step of the small CNN half as fast again on a CPU with AVX-512; what
    passes between ranks is contiguous, as torch's pipeline wants it, and of the type ``leaves`` (by default as it was
    computed), as its gradient then is.

    Attributes:
        differentiable: whether what goes out has a gradient also where nothing up to it is trained, for schedules that
            go backward through every stage.
    """

    differentiable = False

    def __init__(
        self,
        part: Chain,
        device: torch.device,
        bf16: bool,
        checkpointing: str = "none",
        leaves: torch.dtype | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.part = part.to(device)
        self.device = device
        self.bf16 = bf16
        self.checkpointing = checkpointing
        self.leaves = leaves
        self.dtype = next((p.dtype for p in part.parameters()), dtype)

    def forward(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        """As the chain's."""
        computed = self._computed(x if self.bf16 else x.to(self.dtype), valid, seed)
        y = computed.to(self.leaves or computed.dtype).contiguous()
        # torch's pipeline lets go of an output's storage: it must be no view, and nobody else's
        y = y.clone() if y is computed else y
        return y.requires_grad_() if self.differentiable and torch.is_grad_enabled() else y

    def _computed(self, x: Tensor, valid: Tensor, seed: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            x = _Laid.apply(x)
            again = self.checkpointing if self.training and torch.is_grad_enabled() else "none"
            if again == "none":
                y: Tensor = self.part(x, valid, seed)
                return y
            for piece in self.part if again == "block" else (self.part,):
                # blocks draw their random numbers from the seeds, so no generator's state must be kept
                x = checkpoint(piece, x, valid, seed, use_reentrant=False, preserve_rng_state=False)
            return x


class _Laid(torch.autograd.Function):
    """Images channels-last, others as they are; the gradient goes out contiguous, for gloo sends no other tensors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient.contiguous()
