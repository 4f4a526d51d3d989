"""A network of your own on several processes: torchrun --nproc_per_node=2 docs/own_model.py"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import parallel_ser as ps


class LSTM(nn.LSTM):
    """A block takes a tensor (or a tuple of tensors) and gives one; torch's LSTM gives its state too."""

    def forward(self, x):
        return super().forward(x)[0]


class Mean(nn.Module):
    def forward(self, x):
        return x.mean(1)


torch.manual_seed(0)
layers = [LSTM(64, 64, batch_first=True) for _ in range(2)]
model = nn.Sequential(nn.Linear(40, 64), *layers, Mean(), nn.Linear(64, 7))

with ps.parallelize(
    model,
    strategy="pipeline",
    schedule="zbv",
    microbatches=8,
    loss=cross_entropy,
    optimizer=lambda p: torch.optim.AdamW(p, 1e-2),
) as run:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(30, 50, 40, generator=generator)  # (batch, frames, features), the same on every process
    targets = torch.randint(7, (30,), generator=generator)
    losses = [run.step(inputs, targets) for _ in range(20)]
    right = (run.predict(inputs).argmax(1) == targets).float().mean()
    weights = run.state_dict()  # whole, on the first process
    if run.context.first:
        print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}, {right:.0%} right, {len(weights)} tensors")
