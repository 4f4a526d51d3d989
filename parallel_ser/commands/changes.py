"""Settings of a run that a command may be given others of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from parallel_ser.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from parallel_ser.config import Config
    from parallel_ser.training.inference import Run


def changed(trained: Run, run: Path, words: Sequence[str], may: Sequence[str], command: str) -> Config:
    """The settings of a run with some changed, such as ``corpus.root=FOLDER``.

    Args:
        trained: the run.
        run: its folder, for messages.
        words: the changes.
        may: settings that may change.
        command: for messages.

    Raises:
        UserError: another one does.
    """
    from parallel_ser.config import dump, load

    if not words:
        return trained.config
    config = load(trained.settings_file, words)
    if dump(config) != dump(trained.config) and (wrong := sorted({word.partition("=")[0] for word in words} - {*may})):
        raise UserError(f"{wrong[0]} belongs to the training of {run}; {command} takes {', '.join(may)}.")
    return config
