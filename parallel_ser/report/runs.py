"""Runs beside each other as a table in a terminal and as CSV, from plain records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from rich.console import Console
from rich.text import Text

from parallel_ser.report.columns import Column, print_table
from parallel_ser.system.csv_text import csv_text
from parallel_ser.system.terminal import printable


def print_runs(console: Console, rows: Sequence[Mapping[str, Any]], seeds: Sequence[Mapping[str, Any]]) -> None:
    """A line a run, in the order given; then means over seeds, and what is wrong with a folder."""
    paths = [PurePath(row["run"]) for row in rows]
    short = len({path.name for path in paths}) == len(paths)

    def texts(name: str, form: str = "{}") -> list[str]:
        return ["–" if row[name] is None else printable(form.format(row[name])) for row in rows]

    intervals = ["–" if row["uar_low"] is None else f"{row['uar_low']:.3f} to {row['uar_high']:.3f}" for row in rows]
    folds = ["–" if row["folds"] is None else f"{row['folds_done']} of {row['folds']}" for row in rows]
    protocols = [
        f"{name}, seed {row['split_seed']}" if row["split_seed"] else name
        for name, row in zip(texts("protocol"), rows, strict=True)
    ]
    columns = (
        Column("run", [Text(printable(path.name if short else str(path))) for path in paths], left=True, least=22),
        Column("protocol", list(map(Text, protocols)), left=True, least=12),
        Column("UAR", texts("uar", "{:.3f}")),
        Column("95% interval", intervals),
        Column("seed", texts("seed"), drop=1),
        Column("folds", folds, drop=2),
        Column("n", texts("n"), drop=3),
        Column("speakers", texts("speakers"), drop=4),
        Column("corpus", list(map(Text, texts("corpus"))), drop=5, left=True),
        Column("model", list(map(Text, texts("model"))), drop=6, left=True),
        Column("WA", texts("wa", "{:.3f}"), drop=7),
        Column("macro F1", texts("macro_f1", "{:.3f}"), drop=8),
    )
    print_table(console, columns, more="--wide or --csv")
    for group in seeds:
        names = ", ".join(PurePath(run).name for run in group["runs"])
        told = f"{len(group['runs'])} seeds: UAR {group['uar_mean']:.3f} ± {group['uar_std']:.3f} (std) over {names}."
        console.print(Text(printable(told)))
    for row in rows:
        if row["problem"]:
            console.print(Text(printable(row["problem"])), style="red")


def runs_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """All of the records, unrounded, one line a run."""
    return csv_text([rows[0], *(row.values() for row in rows)])
