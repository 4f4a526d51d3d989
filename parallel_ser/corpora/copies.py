"""Recordings that are the same but for a gain, a little noise or another coding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ALIKE = 0.99
"""The cosine of two fingerprints (``audio.fingerprint``) from which on they are of one recording."""
LENGTH = 0.01
"""The largest relative difference of two copies' durations."""


def copy_ids(audio_ids: Sequence[str], fingerprints: Sequence[bytes], seconds: Sequence[float]) -> list[str]:
    """For each recording the identity of the first that it is a copy of, which may be its own; empty where unknown.

    Args:
        audio_ids: identities of the exact audio; equal audio, equal identity; empty where unknown.
        fingerprints: bytes of int8, of one length; empty where unknown.
        seconds: durations.
    """
    found = list(audio_ids)
    known = [place for place in range(len(found)) if fingerprints[place] and found[place]]
    known.sort(key=lambda place: seconds[place])
    if not known:
        return found
    rows = np.stack([np.frombuffer(fingerprints[place], np.int8) for place in known]).astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    durations = np.array([seconds[place] for place in known])
    ends = np.searchsorted(durations, durations * (1.0 + LENGTH), side="right")
    parent = list(range(len(known)))

    def root(place: int) -> int:
        while parent[place] != place:
            parent[place] = place = parent[parent[place]]
        return place

    for one, end in enumerate(ends):
        for step in np.flatnonzero(rows[one + 1 : end] @ rows[one] >= ALIKE):
            parent[root(one + 1 + int(step))] = root(one)
    first: dict[int, int] = {}
    for one, place in enumerate(known):
        first[root(one)] = min(place, first.get(root(one), place))
    for one, place in enumerate(known):
        found[place] = audio_ids[first[root(one)]]
    return found
