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
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    found = list(audio_ids)
    known = [place for place in range(len(found)) if fingerprints[place] and found[place]]
    known.sort(key=lambda place: seconds[place])
    if not known:
        return found
    rows = np.stack([np.frombuffer(fingerprints[place], np.int8) for place in known]).astype(np.float32)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    durations = np.array([seconds[place] for place in known])
    ends = np.searchsorted(durations, durations * (1.0 + LENGTH), side="right")
    pairs = [
        (one, one + 1 + int(step))
        for one, end in enumerate(ends)
        for step in np.flatnonzero(rows[one + 1 : end] @ rows[one] >= ALIKE)
    ]
    links = coo_array((np.ones(len(pairs)), np.array(pairs, dtype=int).reshape(-1, 2).T), (len(known), len(known)))
    groups = connected_components(links, directed=False)[1].tolist()
    first: dict[int, int] = {}
    for group, place in zip(groups, known, strict=True):
        first[group] = min(place, first.get(group, place))
    for group, place in zip(groups, known, strict=True):
        found[place] = audio_ids[first[group]]
    return found
