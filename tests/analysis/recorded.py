"""What a test knows of a recording that it made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Recording:
    """A file, and start and end of each utterance in it, in seconds."""

    path: Path
    speech: list[tuple[float, float]]
    seconds: float
