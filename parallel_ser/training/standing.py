"""Where training stands, as a folder that all ranks write together and that any strategy can read.

::

    last/step-12/shard-….safetensors     torch.distributed.checkpoint, each rank's part by canonical names
    last/step-12/training.json           progress, the model's signature, the digest of each shard and its own

A save makes a folder ``.step-12.part``, renames it when it is whole, and then deletes the one before it: whenever it is
interrupted, a whole one is there. A step that is there already is not written again; only what is said of it is, whole
or not at all. Nothing that is read is executed: safetensors holds numbers alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
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
from parallel_ser.system import digests
from parallel_ser.system.files import numbered
from parallel_ser.training.checkpoint import first_difference, fits

FORMAT = 3
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
    target, part = folder / f"step-{step}", folder / f".step-{step}.part"
    about = {"format": FORMAT, "signature": strategy.signature, "updates": strategy.state.updates, "progress": progress}

    def stands() -> bool:
        if (before := digests.cached_json(target / INFO)) is None:
            return False
        digests.write_json(target / INFO, {**about, "files": before["files"]})
        return True

    if mesh.rank0_first(stands, share=True):
        return
    mesh.rank0_only(lambda: _writing(target, lambda: _afresh(folder, part)))
    writer = HuggingFaceStorageWriter(str(part), save_distributed=True)
    try:
        dcp.save(strategy.state.shards(), storage_writer=writer, no_dist=not dist.is_initialized())
    except (Exception, CheckpointException) as error:  # the ranks' failures in one, and no Exception
        if not mesh.first:
            raise QuietExit(2) from error
        shutil.rmtree(part, ignore_errors=True)
        raise UserError(f"cannot write the checkpoint {target}: {_reason(error)}.") from error
    files = _digests(part, mesh)

    def finish() -> None:
        digests.write_json(part / INFO, {**about, "files": files})
        if target.exists():  # and is damaged
            _delete(target)
        _writing(target, lambda: part.rename(target))
        for _, older in numbered(folder, "step-"):
            if older != target:
                _delete(older)

    mesh.rank0_only(finish)


def _afresh(folder: Path, part: Path) -> None:
    """Make the folder of a save, without what interrupted ones have left."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*"):
        shutil.rmtree(left, ignore_errors=True)
    part.mkdir()


def _delete(folder: Path) -> None:
    """Delete a checkpoint, which at no time is there in part."""
    with suppress(OSError):  # what cannot be deleted is no harm
        doomed = folder.with_name(f".{folder.name}.old")
        folder.rename(doomed)
        shutil.rmtree(doomed)


def _writing(target: Path, work: Callable[[], object]) -> None:
    try:
        work()
    except OSError as error:
        raise UserError(f"cannot write the checkpoint {target}: {error.strerror or error}.") from error


def _digests(folder: Path, mesh: ProcessContext) -> dict[str, str]:
    """The digest of each shard of a folder, of which every rank reads its share; the same on every rank."""
    names = mesh.rank0_first(lambda: sorted(one.name for one in folder.glob("*.safetensors")), share=True)
    own: dict[str, str] = {}
    for name in names[mesh.rank :: mesh.size]:
        try:
            own[name] = digests.file_digest(folder / name)
        except (OSError, UserError) as error:
            own[name] = f"it cannot be read: {getattr(error, 'strerror', None) or error}"
    parts = mesh.gather(own)
    return mesh.rank0_first(lambda: {name: found for part in parts for name, found in part.items()}, share=True)


def newest(folder: Path) -> Path | None:
    """The last whole checkpoint in a folder."""
    return next((path for _, path in reversed(numbered(folder, "step-")) if (path / INFO).exists()), None)


def info(path: Path, signature: Mapping[str, list[int]]) -> dict[str, Any]:
    """What a checkpoint says of itself.

    Raises:
        UserError: it is damaged, of another version or of another model.
    """
    content = digests.read_json(path / INFO)
    if content.get("format") != FORMAT:
        raise UserError(f"{path} is not a checkpoint of format {FORMAT}; train again with this version.")
    fits(path, content, signature)
    return content


def load(path: Path, strategy: Strategy, about: Mapping[str, Any], mesh: ProcessContext) -> None:
    """Give a strategy its part of a checkpoint that any other may have written, on every rank alike.

    Args:
        path: of the checkpoint.
        strategy: that goes on from it.
        about: what ``info`` says of it.
        mesh: the ranks.

    Raises:
        UserError: it is damaged.
    """
    found = _digests(path, mesh)
    if found != about["files"]:  # the same on every rank
        if not mesh.first:
            raise QuietExit(2)
        raise digests.DamagedError(path, _changed(found, about["files"]))
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
        raise digests.DamagedError(path, _reason(error)) from error
    strategy.state.load_shards(state, about["updates"])


def _changed(found: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    """Why the files of a checkpoint are not those that were written."""
    name = first_difference(found, wanted)
    if name not in found:
        return f"{name} is missing"
    return f"{name} has changed" if name in wanted else f"{name} does not belong to it"


def _reason(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
