"""Where training stands, as a folder that all ranks write together and that any strategy can read.

::

    last/step-12/shard-….safetensors     torch.distributed.checkpoint, each rank's part by canonical names
    last/step-12/training.json           progress and the model's signature; written last, so it says: whole

A save makes a new folder and then deletes the one before it, so that an interrupted save loses nothing. Nothing that is
read is executed: safetensors holds numbers alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from parallel_ser.errors import UserError
from parallel_ser.parallel.comm.context import ProcessContext, QuietExit
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.system.files import write_text
from parallel_ser.training.checkpoint import fits

FORMAT = 2
INFO = "training.json"


def save(folder: Path, step: int, strategy: Strategy, progress: Mapping[str, Any], mesh: ProcessContext) -> None:
    """Write where training stands, on every rank alike.

    Args:
        folder: that holds the checkpoints of a fold.
        step: how many steps are done.
        strategy: whose state is kept.
        progress: what else is, as plain data.
        mesh: the ranks.

    Raises:
        UserError: it cannot be written; the checkpoint before it is kept.
    """
    target = folder / f"step-{step}"
    mesh.rank0_only(lambda: shutil.rmtree(target, ignore_errors=True))  # what an interrupted save has left
    writer = HuggingFaceStorageWriter(str(target), save_distributed=True)
    try:
        dcp.save(strategy.state.shards(), storage_writer=writer, no_dist=not dist.is_initialized())
    except (Exception, CheckpointException) as error:  # the ranks' failures in one, and no Exception
        if not mesh.first:
            raise QuietExit(2) from error
        shutil.rmtree(target, ignore_errors=True)
        raise UserError(f"cannot write the checkpoint {target}: {_reason(error)}.") from error
    info = {"format": FORMAT, "signature": strategy.signature, "updates": strategy.state.updates, "progress": progress}

    def finish() -> None:
        write_text(target / INFO, json.dumps(info, indent=1) + "\n")
        for older in folder.glob("step-*"):
            if older != target:
                shutil.rmtree(older, ignore_errors=True)

    mesh.rank0_only(finish)


def newest(folder: Path) -> Path | None:
    """The last whole checkpoint in a folder."""
    whole = [path.parent for path in folder.glob(f"step-*/{INFO}")]
    return max(whole, key=lambda path: int(path.name.removeprefix("step-")), default=None)


def info(path: Path, signature: Mapping[str, list[int]]) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Raises:
        UserError: it is damaged, of another version or of another model.
    """
    try:
        content = json.loads((path / INFO).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no readable checkpoint ({_reason(error)}).") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT or "progress" not in content:
        raise UserError(f"{path} is not a checkpoint of format {FORMAT}; train again with this version.")
    fits(path, content, signature)
    return content


def load(path: Path, strategy: Strategy, updates: int, mesh: ProcessContext) -> None:
    """Give a strategy its part of a checkpoint that any other may have written, on every rank alike.

    Args:
        path: of the checkpoint.
        strategy: that goes on from it.
        updates: that were done, as ``info`` says.
        mesh: the ranks.

    Raises:
        UserError: it is damaged.
    """
    try:
        reader = HuggingFaceStorageReader(str(path))
        kept = reader.read_metadata().state_dict_metadata
        shapes = {key: one.size for key, one in kept.items() if isinstance(one, TensorStorageMetadata)}
        for name in strategy.signature:
            if f"weights.{name}" not in shapes:
                raise ValueError(f"it has no {name}; was a file of it deleted?")
        state = strategy.state.empty_shards(shapes)
        dcp.load(state, storage_reader=reader, no_dist=not dist.is_initialized())
    except (Exception, CheckpointException) as error:
        if not mesh.first:
            raise QuietExit(2) from error
        raise UserError(f"{path} is no readable checkpoint ({_reason(error)}).") from error
    strategy.state.load_shards(state, updates)


def _reason(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
