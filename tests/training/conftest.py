"""Runs that several modules read and none changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from classical_runs import GMM, SVM
from commanding import done


@pytest.fixture(scope="session")
def svm_run(_own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "svm"
    done("baseline", *SVM, f"run.folder={folder}")
    return folder


@pytest.fixture(scope="session")
def gmm_run(_own_cache: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "gmm"
    done("baseline", *GMM, f"run.folder={folder}")
    return folder
