"""Decode every file of a corpus and say what is wrong with which."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from parallel_ser.corpora.base import Corpus, Problem, Sex, Utterance
from parallel_ser.corpora.content import TooLongError, UndecodableError, audio_id, cancels, clipped_share, decode
from parallel_ser.system.cores import usable_cores

SILENT_PEAK = 1e-3
"""A file whose loudest sample is below this (-60 dB of full scale) is silent."""
LONGEST = 600
"""Seconds of a file that is decoded; one utterance never lasts as long."""
CLIPPED_SHARE = 1e-4
"""A file with this share of its samples in flat tops is clipped: 5 samples in 3 s at 16 kHz."""


@dataclass(frozen=True)
class CheckReport:
    """What a corpus holds and what is wrong with it.

    Attributes:
        name: of the corpus.
        root: the folder that paths are told relative to.
        files: how many were read.
        seconds: of sound in the decodable files.
        sexes: of the speakers, in the order of their names.
        classes: the emotions in canonical order.
        counts: utterances by speaker and emotion.
        sample_rates: files by sample rate in Hz.
        channels: files by number of channels.
        problems: in the order of their paths; none means that nothing is wrong with what is read.
        notes: on what is not read, or not here.
    """

    name: str
    root: Path | None
    files: int
    seconds: float
    sexes: Mapping[str, Sex]
    classes: tuple[str, ...]
    counts: Mapping[tuple[str, str], int]
    sample_rates: Mapping[int, int]
    channels: Mapping[int, int]
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()

    @property
    def minutes(self) -> float:
        """Minutes of sound in the decodable files."""
        return self.seconds / 60


@dataclass(frozen=True)
class Inspection:
    """What decoding one file showed; ``trouble`` is a problem's kind and detail."""

    seconds: float = 0.0
    sample_rate: int | None = None
    channels: int | None = None
    audio: str | None = None
    trouble: tuple[str, str] | None = None


def check(
    corpus: Corpus,
    root: Path | None = None,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> CheckReport:
    """Decode every file of the corpus and compare what they hold.

    Args:
        corpus: as read; its own problems come into the report.
        root: the corpus's folder or manifest; the report's paths are relative to it.
        jobs: threads (decoding leaves Python's lock alone); as many as cores when None.
        progress: called with files done and files in all.
    """
    import joblib

    if root is not None:
        root = root.expanduser()
        root = root.parent if root.is_file() else root
    total = len(corpus.utterances)
    inspections: list[Inspection] = []
    work = joblib.Parallel(n_jobs=jobs or usable_cores(), backend="threading", return_as="generator")
    for inspection in work(joblib.delayed(inspect)(utterance.path) for utterance in corpus.utterances):
        inspections.append(inspection)
        if progress is not None:
            progress(len(inspections), total)

    troubles = [
        Problem(utterance.path, *inspection.trouble)
        for utterance, inspection in zip(corpus.utterances, inspections, strict=True)
        if inspection.trouble
    ]
    copies = _copies(corpus.utterances, inspections, root)
    decoded = [inspection for inspection in inspections if inspection.sample_rate is not None]
    return CheckReport(
        name=corpus.name,
        root=root,
        files=total,
        seconds=sum(inspection.seconds for inspection in decoded),
        sexes=MappingProxyType(dict(sorted((u.speaker, u.sex) for u in corpus.utterances))),
        classes=corpus.classes,
        counts=MappingProxyType(Counter((u.speaker, u.emotion) for u in corpus.utterances)),
        sample_rates=_histogram([inspection.sample_rate for inspection in decoded]),
        channels=_histogram([inspection.channels for inspection in decoded]),
        notes=corpus.notes,
        problems=tuple(sorted((*corpus.problems, *troubles, *copies), key=lambda p: (p.path.as_posix(), p.kind))),
    )


def inspect(path: Path) -> Inspection:
    """Decode one file; a file at fault is told of in ``trouble``, never raised."""
    if not path.exists():
        return Inspection(trouble=("missing", "there is no such file"))

    def accept(frames: int, rate: int) -> None:
        if frames > LONGEST * rate:
            raise TooLongError(
                f"{path} lasts {frames / rate / 60:,.0f} minutes, above {LONGEST // 60}, and is not decoded; "
                "cut it into utterances."
            )

    try:
        samples, rate = decode(path, accept)
    except UndecodableError as error:
        # The report names the file before the clause.
        return Inspection(trouble=(error.kind, str(error).replace(f"{path} ", "").replace(f" {path}", "").rstrip(".")))
    frames, channels = samples.shape
    return Inspection(frames / rate, rate, channels, audio_id(samples), _trouble(samples))


def _trouble(samples: NDArray[np.float32]) -> tuple[str, str] | None:
    """Kind and detail of what is wrong with decoded samples ``(frames, channels)``."""
    broken = samples.size - int(np.isfinite(samples).sum())
    if broken:
        return "non-finite", f"{broken} of {samples.size} samples are NaN or infinite"
    peak = float(np.abs(samples).max())
    if peak < SILENT_PEAK:
        level = (
            f"the loudest sample is at {20 * math.log10(peak):.0f} dB of full scale" if peak else "all samples are 0"
        )
        return "silent", level
    if cancels(samples):
        return "out of phase", "its channels cancel each other, so that their mean is silent; keep one of them"
    share = clipped_share(samples)
    if share >= CLIPPED_SHARE:
        return "clipped", f"{100 * share:.2g}% of the samples lie in flat tops at {peak:.3f} of full scale"
    return None


def _copies(utterances: tuple[Utterance, ...], inspections: list[Inspection], root: Path | None) -> list[Problem]:
    """Recordings whose samples occurred before: misplaced when filed under another speaker or emotion."""
    first: dict[str, Utterance] = {}
    problems = []
    for utterance, inspection in zip(utterances, inspections, strict=True):
        if inspection.audio is None or (inspection.trouble and inspection.trouble[0] == "silent"):
            continue
        twin = first.setdefault(inspection.audio, utterance)
        if twin is utterance:
            continue
        same = f"same samples as {relative(twin.path, root)}"
        if (twin.speaker, twin.emotion) == (utterance.speaker, utterance.emotion):
            problems.append(Problem(utterance.path, "duplicate", same))
        else:
            problems.append(Problem(utterance.path, "misplaced", f"{same}, which is {twin.speaker}, {twin.emotion}"))
    return problems


def relative(path: Path, root: Path | None) -> str:
    """The path as told to the user: from ``root`` where it lies below, else in full."""
    return str(path.relative_to(root) if root is not None and path.is_relative_to(root) else path)


def _histogram(values: list[int | None]) -> Mapping[int, int]:
    return MappingProxyType(dict(sorted(Counter(value for value in values if value is not None).items())))
