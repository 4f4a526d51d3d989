"""What an analysis is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from parallel_ser.audio.vad import Method
from parallel_ser.decision.timeline import WIDTH
from parallel_ser.errors import UserError


@dataclass(frozen=True)
class AnalysisSettings:
    """How a recording is analysed.

    Attributes:
        vad: what finds speech, see ``audio.vad``.
        smooth: seconds, the standard deviation of the kernel that smooths probabilities over time; 0 does not.
        error: the share of wrong answers that a threshold of ``calibrate`` promises; None takes the least promised.
        lenient: recognise what is unlike the training recordings too, and say so, instead of leaving it out.
        rttm: who speaks when (RTTM, NIST 2009).
        speakers: how many people to tell apart by their voices; 0 takes all speech for one person's.
        speaker: whose speech is analysed: a name in ``rttm``, or a number, 1 being who speaks the most.
        audio: keep the speech for listening in the report.
        batch: segments that are recognised together.
    """

    vad: Method = "silero"
    smooth: float = WIDTH
    error: float | None = None
    lenient: bool = False
    rttm: Path | None = None
    speakers: int = 0
    speaker: str = "1"
    audio: bool = True
    batch: int = 64

    def __post_init__(self) -> None:
        """Refuse a method that is not there.

        Raises:
            UserError: see above.
        """
        if self.vad not in get_args(Method):
            raise UserError(f"--vad {self.vad!r} is not there: it is {' or '.join(get_args(Method))}.")
