"""A person's sessions beside each other: the person's own baseline, and how far from it chance may lie."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from parallel_ser.analysis.store import Stored
from parallel_ser.errors import UserError

BASELINE = 5
"""Sessions that make a person's baseline: the first of one task with enough speech."""
LEAST_SPEECH = 30.0
"""Seconds of speech without which a session is shown and not compared."""
LEVEL = 0.95
_KEPT: Mapping[str, Any] = {"speech": (int, float), "measures": dict, "dimensions": dict, "run": str}


def band(values: Sequence[float], level: float = LEVEL) -> tuple[float, float, float]:
    """Mean of a person's baseline, and the bounds within which one more session lies with probability ``level``.

    The prediction interval of a normal distribution, mean ± t · s · sqrt(1 + 1/n) with n - 1 degrees of freedom: s
    holds both what the person varies by from session to session and the error of measuring (test-retest).

    >>> [round(one, 2) for one in band([1.0, 2.0, 3.0])]
    [2.0, -2.97, 6.97]
    """
    from scipy.stats import t

    count = len(values)
    mean = sum(values) / count
    deviation = math.sqrt(sum((one - mean) ** 2 for one in values) / (count - 1))
    reach = float(t.ppf(0.5 + level / 2, count - 1)) * deviation * math.sqrt(1 + 1 / count)
    return mean, mean - reach, mean + reach


def series(person: str, sessions: Sequence[Stored], digest: str) -> dict[str, Any]:
    """A person's sessions of one task as plain data for a report.

    Args:
        person: who.
        sessions: in the order of their dates, of the task that the report is of.
        digest: of the session that the report is of.

    Raises:
        UserError: the summary of a session is not what an analysis keeps.
    """
    for one in sessions:
        if not all(isinstance(one.summary.get(name), kind) for name, kind in _KEPT.items()):
            raise UserError(
                f"the store's session of {one.date} of {person!r} does not hold what an analysis keeps: name another "
                "store, or forget the person in this one."
            )
    enough = [one for one in sessions if one.summary["speech"] >= LEAST_SPEECH]
    first = enough[:BASELINE]
    within = {one.digest for one in first}
    bands = {}
    if len(first) == BASELINE:
        kinds = ["measures"]
        if len({one.summary["run"] for one in sessions}) == 1:  # another run hears arousal in another way
            kinds.append("dimensions")
        for kind in kinds:
            for name in first[0].summary[kind]:
                own = [one.summary[kind][name]["value"] for one in first if name in one.summary[kind]]
                if len(own) == BASELINE:
                    mean, low, high = band(own)
                    bands[name] = {"mean": mean, "low": low, "high": high}
    return {
        "person": person,
        "baseline": BASELINE,
        "least_speech": LEAST_SPEECH,
        "ready": len(first),
        "bands": bands,
        "sessions": [
            {
                "date": one.date,
                "file": one.file,
                "task": one.task,
                "speech": one.summary["speech"],
                "measures": one.summary["measures"],
                "dimensions": one.summary["dimensions"],
                "in_baseline": one.digest in within,
                "compared": one.summary["speech"] >= LEAST_SPEECH,
                "this": one.digest == digest,
            }
            for one in sessions
        ],
    }
