"""How unlike training something is: right on the training's own kind, and far for another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from parallel_ser.corpora.base import Utterance
from parallel_ser.errors import UserError
from parallel_ser.training import novelty
from parallel_ser.training.data import Dataset

ROWS = (*(f"logmel{place}" for place in range(12)), "intensity")


def utterances(count: int, tilt: float, seed: int) -> list[np.ndarray]:
    """Log-mel frames with a slope over the bands, of any level."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        level = rng.normal(-40.0, 10.0)
        bands = level - tilt * np.arange(12)[:, None] + rng.normal(0.0, 2.0, (12, 1)) + rng.normal(0.0, 5.0, (12, 80))
        found.append(np.vstack([bands, np.full((1, 80), level)]).astype(np.float32))
    return found


def test_one_in_a_hundred_of_the_same_kind_is_beyond_the_limit() -> None:
    speakers = [f"s{place % 20}" for place in range(600)]
    found = novelty.fit(novelty.describe(utterances(600, 2.0, 0), ROWS), speakers)
    others = found(novelty.describe(utterances(1000, 2.0, 1), ROWS))
    assert 0.002 <= (others > 1.0).mean() <= 0.03
    assert found(novelty.describe(utterances(50, -1.0, 2), ROWS)).min() > 1.2


def test_gain_alone_is_nothing_new() -> None:
    own = utterances(5, 2.0, 0)
    louder = [one + 30.0 for one in own]
    np.testing.assert_allclose(novelty.describe(louder, ROWS), novelty.describe(own, ROWS), atol=1e-3)


def test_it_is_kept_with_the_run_and_damage_is_told(tmp_path: Path) -> None:
    frames = utterances(60, 2.0, 0)
    people = tuple(Utterance(Path(str(place)), "c", f"s{place % 6}", "unknown", "joy") for place in range(60))
    data = Dataset(people, ("joy",), ROWS, frames, [""] * 60)
    assert novelty.read(tmp_path) is None
    novelty.write(tmp_path, data, range(60))
    found = novelty.read(tmp_path)
    assert found is not None
    expected = novelty.fit(novelty.describe(frames, ROWS), data.speakers(range(60)))
    described = novelty.describe(utterances(9, 2.0, 5), ROWS)
    np.testing.assert_allclose(found(described), expected(described), rtol=1e-3)
    path = tmp_path / novelty.FILE
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match="damaged"):
        novelty.read(tmp_path)


def test_few_utterances_say_nothing(tmp_path: Path) -> None:
    data = Dataset((), ("joy",), ROWS, utterances(10, 2.0, 0), [""] * 10)
    novelty.write(tmp_path, data, range(10))
    assert novelty.read(tmp_path) is None
