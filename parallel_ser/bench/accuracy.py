"""The UAR of many systems on a corpus: each is a command of ``parallel-ser``, and one entry of a YAML file.

systems:
  - {name: kernels, run: baseline elm, settings: [classical.normalise=speaker]}
  - {name: CNN, run: train --nproc 2, settings: [train.epochs=40]}
  - {name: both, run: fuse --method stack, of: [kernels, CNN]}
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from parallel_ser import yaml_text
from parallel_ser.bench.plain import COMMAND, Plain
from parallel_ser.errors import UserError
from parallel_ser.report.terminal import Rounds
from parallel_ser.settings import Settings
from parallel_ser.training.run_folder import read_json

_RUNS = ("train", "baseline", "fuse")


class System(Settings):
    """A row: its name, the command that makes it, its settings, and for a fusion the rows that it is of."""

    name: str
    run: str
    settings: tuple[str, ...] = ()
    of: tuple[str, ...] = ()


class Systems(Settings):
    """The file: ``settings`` are every run's, ``systems`` the rows."""

    settings: tuple[str, ...] = ()
    systems: tuple[System, ...]


def read(path: Path) -> Systems:
    """The systems of a YAML file.

    Raises:
        UserError: it cannot be read, or an entry is not as the module says.
    """
    try:
        data, _ = yaml_text.read(path.read_text(encoding="utf-8"))
        found = Systems.model_validate_json(json.dumps(data))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
    except yaml_text.YamlProblem as problem:
        raise UserError(f"{path}, line {problem.line}: {problem.clause}.") from problem
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.") from error
    known: set[str] = set()
    for one in found.systems:
        if one.run.split()[0] not in _RUNS:
            raise UserError(f"{path}: system {one.name} runs {one.run}; it must begin with {', '.join(_RUNS)}.")
        if one.name in known:
            raise UserError(f"{path}: two systems are named {one.name}.")
        if missing := sorted(set(one.of) - known):
            raise UserError(f"{path}: system {one.name} is of {missing[0]}, which is not above it.")
        known.add(one.name)
    return found


def measure(systems: Systems, arguments: Sequence[str], folder: Path, told: Rounds) -> Plain:
    """Run each system that has no results in ``folder`` yet, and put their results side by side.

    Raises:
        UserError: a system fails.
    """
    records: dict[str, dict[str, Any]] = {}
    for place, one in enumerate(systems.systems):
        told("systems", place, len(systems.systems))
        home = folder / one.name.replace(" ", "-")
        if not (home / "metrics.json").exists():
            _run(one, [*systems.settings, *arguments], home, folder)
        records[one.name] = read_json(home / "metrics.json")
    told("systems", len(systems.systems), len(systems.systems))
    headings = ("system", "mean UAR ± std over folds", "each fold", "pooled (95% over speakers)", "notes")
    rows = [(name, *_row(record)) for name, record in records.items()]
    best = max(records, key=lambda name: float(records[name]["fold_uar_mean"]))
    said = [f"The highest mean UAR is that of {best}, {records[best]['fold_uar_mean']:.3f}."]
    audit = records[best]["audit"] or {}
    said.append(f"Protocol {audit.get('protocol', 'unnamed')}: {audit.get('verdict', 'not audited')}")
    return Plain("accuracy", headings, rows, said, records)


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
        command += [*settings, *system.settings, f"run.folder={home}", *resume]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    if done.returncode:
        last = [line for line in done.stderr.splitlines() if line.strip()][-1:]
        raise UserError(f"system {system.name} failed: {' '.join(last) or f'exit status {done.returncode}'}")
