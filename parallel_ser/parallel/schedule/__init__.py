"""Schedules as data: what each rank of a pipeline computes, in order. No process, no clock, no torch.

A schedule is a pure function of the ranks and the micro-batches: one module in ``orders``, with its descriptor.
``simulate`` plays it against a clock, and torch's runtime runs it (``internals/pipelining.py``). In the diagrams a
forward pass, an input gradient and a weight gradient take one column each:

    0    forward pass of micro-batch 0         0"   gradient of the stage's weights
    0'   backward pass or input gradient       .    nothing to do

Where a rank holds two stages, a number comes up twice: forward in the first and then in the second of them, backward
the other way round.
"""
