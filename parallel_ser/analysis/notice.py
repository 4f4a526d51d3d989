"""A notice for the people who are recorded, filled from the run: informing them is a duty in the EU."""

from __future__ import annotations

import os
from pathlib import Path

from parallel_ser.analysis.settings import AnalysisSettings
from parallel_ser.report.markdown_pages import notice
from parallel_ser.system.files import write_text
from parallel_ser.training.inference import Run

FILE = "notice.md"


def write(path: Path, run: Run, settings: AnalysisSettings, kept: bool) -> None:
    """Write the notice.

    Args:
        path: of the file.
        run: that the recordings are analysed with.
        settings: of the analysis.
        kept: whether sessions are kept of a person.
    """
    corpora = [run.config.corpus.name or "", *(part.name or "" for part in run.config.corpus.also)]
    text = notice(
        {
            "run": os.path.basename(run.folder.absolute()),
            "emotions": list(run.classes),
            "corpora": [name for name in corpora if name],
            "audio": settings.audio,
            "kept": kept,
            "voices": settings.speakers > 1,
        }
    )
    write_text(path, text)
