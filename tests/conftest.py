"""What all tests share: no deadlines, since timings belong in benchmarks, and a cache of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARALLEL_SER_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
