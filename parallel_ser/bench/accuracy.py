"""The UAR of many systems on a corpus: each is a command of ``parallel-ser``, and one entry of the suite's YAML.

suite: accuracy
systems:
  - {name: kernels, run: baseline elm, settings: [classical.normalise=speaker]}
  - {name: CNN, run: train --nproc 2, config: configs/ravdess.yaml, settings: [train.epochs=40]}
  - {name: both, run: fuse --method stack, of: [kernels, CNN]}
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from parallel_ser.bench.plain import COMMAND, Bar, Kept, Plain, ending
from parallel_ser.errors import UserError
from parallel_ser.report.terminal import Rounds
from parallel_ser.settings import Settings
from parallel_ser.training.run_folder import metrics_of

_RUNS = ("train", "baseline", "fuse")


class System(Settings):
    """A row.

    ``name``: of the row.
    ``run``: the command that makes it.
    ``config``: a file with its settings, instead of the suite's.
    ``settings``: of it, which override those of the suite.
    ``of``: the rows that a fusion is of.
    """

    name: str
    run: str
    config: Path | None = None
    settings: tuple[str, ...] = ()
    of: tuple[str, ...] = ()


def checked(systems: Sequence[System]) -> None:
    """Refuse what cannot be run.

    Raises:
        UserError: there are none, two have one name, one is no command that makes results, one is of later ones, or a
            file of settings is missing or of no use.
    """
    if not systems:
        raise UserError("the suite accuracy needs its systems: give a YAML such as benchmarks/accuracy.yaml.")
    known: set[str] = set()
    for one in systems:
        if one.run.split()[0] not in _RUNS:
            raise UserError(f"system {one.name} runs {one.run}; it must begin with {', '.join(_RUNS)}.")
        if one.name in known:
            raise UserError(f"two systems are named {one.name}.")
        if missing := sorted(set(one.of) - known):
            raise UserError(f"system {one.name} is of {missing[0]}, which is not above it.")
        if one.config and not one.config.is_file():
            raise UserError(f"system {one.name} has its settings in {one.config}, which is no file here.")
        if one.of and (one.config or one.settings):
            raise UserError(f"system {one.name} is a fusion, which has no settings but those of its run.")
        known.add(one.name)


def measure(systems: Sequence[System], arguments: Sequence[str], kept: Kept, told: Rounds) -> Plain:
    """Run each system that has no results in the folder yet, and put their results side by side.

    Raises:
        UserError: a system fails.
    """
    checked(systems)
    folder = kept.path.parent
    records: dict[str, dict[str, Any]] = {}
    for place, one in enumerate(systems):
        told("systems", place, len(systems))
        home = folder / one.name.replace(" ", "-")
        if not (home / "metrics.json").exists():
            _run(one, arguments, home, folder)
        records[one.name] = kept.sample(one.name, 0, partial(metrics_of, home))
    told("systems", len(systems), len(systems))
    headings = ("system", "mean UAR ± std over folds", "each fold", "pooled (95% over speakers)", "notes")
    rows = [(name, *_row(record)) for name, record in records.items()]
    best = max(records, key=lambda name: float(records[name]["fold_uar_mean"]))
    said = [f"The highest mean UAR is that of {best}, {records[best]['fold_uar_mean']:.3f}."]
    audit = records[best]["audit"] or {}
    data = f"Protocol {audit.get('protocol', 'unnamed')}: {audit.get('verdict', 'not audited')}"
    bars = [_bar(name, record) for name, record in records.items()]
    return Plain("accuracy", data, headings, rows, said, "UAR (95% over speakers)", bars)


def _bar(name: str, record: dict[str, Any]) -> Bar:
    value = float(record["uar"]["value"])
    low, high = record["uar"]["interval"] or (value, value)
    return Bar(name, value, low, high)


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    deviation = f" ± {record['fold_uar_std']:.3f}" if record["fold_uar_std"] is not None else ""
    interval = record["uar"]["interval"]
    pooled = f"{record['uar']['value']:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")
    folds = " ".join(f"{fold['uar']:.3f}" for fold in record["per_fold"])
    return f"{record['fold_uar_mean']:.3f}{deviation}", folds, pooled, "; ".join(record["notes"])


def _run(system: System, settings: Sequence[str], home: Path, folder: Path) -> None:
    command = [*COMMAND, *system.run.split()]
    if system.of:
        command += [str(folder / name.replace(" ", "-")) for name in system.of] + ["--out", str(home)]
    else:
        resume = ["run.resume=true"] if (home / "config.yaml").exists() else []
        config = ["--config", str(system.config)] if system.config else []  # the last one given counts
        command += [*settings, *config, *system.settings, f"run.folder={home}", *resume]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    if done.returncode:
        raise UserError(f"system {system.name} failed: {ending(done.stderr, done.returncode)}")
