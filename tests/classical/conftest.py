"""The small problem, made once."""

from __future__ import annotations

import pytest
from small_problem import Small, make


@pytest.fixture(scope="session")
def small() -> Small:
    return make()
