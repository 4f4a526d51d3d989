"""A result as tables in a terminal, from the plain record of ``metrics.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from parallel_ser.report.columns import Column, print_table, short_names, table
from parallel_ser.system.terminal import printable

NOTICE = "Research output, not a diagnosis: it says how acted or labelled emotions were told apart, nothing of health."
MAX_SPEAKERS = 48
"""More speakers than this are not listed in a terminal; ``metrics.json`` holds them all."""


def print_metrics(console: Console, record: Mapping[str, Any]) -> None:
    """Print all of a result: summary, folds and sexes, classes with their confusions, speakers, audit, notice."""
    _print_summary(console, record)
    for note in record["notes"]:
        console.print(Text(f"Note: {note}."))
    if record["notes"]:
        console.print()
    folds = _groups("By fold", "fold", record["per_fold"], record["fold_uar_mean"], record["fold_uar_std"])
    console.print(Columns([folds, _groups("By sex", "sex", record["per_sex"])], padding=(0, 4)))
    console.print()
    _print_classes(console, record)
    _print_confusion(console, record)
    _print_speakers(console, record)
    console.print(Text(audit_sentence(record)))
    console.print(Text(NOTICE))


def _print_summary(console: Console, record: Mapping[str, Any]) -> None:
    """The figures of the whole test set beside what guessing gives."""
    names = ["UAR (unweighted average recall)", "WA (accuracy)", "macro F1", "mean confidence"]
    names.append("mean confidence − accuracy")
    values = [record["uar"]["value"], record["wa"]["value"], record["macro_f1"], record["mean_confidence"]]
    figures = [f"{value:.3f}" for value in values] + [f"{record['confidence_gap']:+.3f}"]
    intervals = [interval_text(record[key]["interval"]) or "–" for key in ("uar", "wa")]
    guesses = [f"{record['chance']:.3f} (chance)", f"{record['majority_wa']:.3f} (majority)"]
    columns = (
        Column("measure", names, left=True, least=16),
        Column("value", [Text(text, style="bold" if place < 2 else "") for place, text in enumerate(figures)]),
        Column("95% interval", [*intervals, "", "", ""], left=True),
        Column("by guessing", [*guesses, "", "", ""], left=True),
    )
    title = f"Result on {record['n']} utterances of {_count(record['speakers'], 'speaker')}"
    print_table(console, columns, title, note=f"Intervals: {record['interval_note']}.")


def _groups(
    title: str, label: str, groups: Sequence[Mapping[str, Any]], mean: float = 0.0, deviation: float | None = None
) -> Table:
    """UAR and WA of each fold or sex; a deviation over them adds two lines at the foot."""
    rows = [(Text(one["name"]), str(one["n"]), f"{one['uar']:.3f}", f"{one['wa']:.3f}") for one in groups]
    foot = []
    if deviation is not None:
        foot = [(Text("mean"), "", f"{mean:.3f}", ""), (Text("± std"), "", f"{deviation:.3f}", "")]
    names, *figures = zip(*rows, *foot, strict=True)
    columns = [Column(label, names, left=True)]
    columns += [Column(name, own) for name, own in zip(("n", "UAR", "WA"), figures, strict=True)]
    return table(columns, title, foot=len(foot))


def _print_classes(console: Console, record: Mapping[str, Any]) -> None:
    """Precision, recall and F1 of each emotion; one that does not occur, or that is never predicted, lacks some."""
    rows = record["per_class"]
    figures = [Column(name, [_figure(row[name.lower()]) for row in rows]) for name in ("precision", "recall", "F1")]
    names = Column("emotion", [Text(row["name"]) for row in rows], left=True)
    print_table(console, (names, Column("n", [str(row["support"]) for row in rows]), *figures), "By emotion")


def _print_confusion(console: Console, record: Mapping[str, Any]) -> None:
    """Counts with the truth in rows and what was predicted in columns."""
    names, counts = record["classes"], record["confusion"]

    def cell(row: int, column: int) -> Text:
        count = counts[row][column]
        return Text(str(count) if count else "·", style="bold" if row == column else "" if count else "dim")

    columns = [Column("", [Text(name) for name in names], left=True)]
    for place, name in enumerate(short_names(names)):
        columns.append(Column(name, [cell(row, place) for row in range(len(names))]))
    print_table(console, columns, "Confusion (rows: truth, columns: predicted)")


def _print_speakers(console: Console, record: Mapping[str, Any]) -> None:
    """UAR of each speaker, the lowest first, several speakers a line."""
    speakers = sorted(record["per_speaker"], key=lambda group: (group["uar"], group["name"]))
    shown, hidden = speakers[:MAX_SPEAKERS], len(speakers[MAX_SPEAKERS:])
    longest = max(len(group["name"]) for group in shown)
    cells = [Text(f"{group['name']:<{longest}}  {group['uar']:.3f}") for group in shown]
    console.print(Text("UAR by speaker, lowest first", style="bold"))
    console.print(Columns(cells, padding=(0, 3), column_first=True))
    if hidden:
        console.print(f"{hidden} more with a higher UAR are in metrics.json.")
    console.print()


def print_decisions(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """What was heard in each file: emotion, confidence, and the two that come next."""
    paths = [PurePath(row["file"]).name for row in rows]
    short = len(set(paths)) == len(paths)
    names = paths if short else [row["file"] for row in rows]
    then = [
        ", ".join(f"{emotion} {share:.2f}" for emotion, share in list(row["probabilities"].items())[1:3])
        for row in rows
    ]
    columns = (
        Column("file", [Text(printable(name)) for name in names], left=True, least=20),
        Column("emotion", [Text(row["emotion"], style="bold") for row in rows], left=True),
        Column("confidence", [f"{row['confidence']:.2f}" for row in rows]),
        Column("then", [Text(text) for text in then], drop=1, left=True),
        Column("s", [f"{row['seconds']:.1f}" for row in rows], drop=2),
        Column("SNR dB", [f"{row['snr_db']:.0f}" for row in rows], drop=3),
    )
    print_table(console, columns, "Heard in each file")


def print_robustness(console: Console, record: Mapping[str, Any]) -> None:
    """What becomes of the answers under each alteration; see ``training.robustness``."""
    rows = record["rows"]
    columns = (
        Column("alteration", [row["name"] for row in rows], left=True, least=20),
        Column("answers that stay", short="stay", cells=[f"{row['unchanged']:.1%}" for row in rows]),
        Column("UAR", [f"{row['uar']:.3f}" for row in rows]),
        Column("UAR lost", [f"{row['lost']:.3f}" for row in rows], drop=1),
        Column("within its bound", short="in bound", cells=["yes" if row["kept"] else "NO" for row in rows]),
    )
    print_table(console, columns, f"{record['n']} tested utterances with their sound altered")
    console.print(
        "Bounds: of light alterations at least 95% of the answers stay; by noise, a narrow band and MP3 at most 0.05 "
        "of UAR is lost."
    )


def print_calibration(console: Console, record: Mapping[str, Any]) -> None:
    """ECE, Brier score and log loss before and after calibration, and the thresholds; see ``report/calibration.py``."""
    names = {"ece": "ECE (expected calibration error)", "brier": "Brier score (0 to 2)", "log_loss": "log loss (nats)"}
    columns = (
        Column("measure (lower is better)", list(names.values()), left=True, least=20),
        Column("before", [f"{record['before'][key]:.3f}" for key in names]),
        Column(f"after ({record['method']})", [f"{record['after'][key]:.3f}" for key in names]),
    )
    title = f"Calibration on {record['n']} utterances of {_count(record['speakers'], 'speaker')}"
    print_table(console, columns, title)
    _print_promises(console, record)


def _print_promises(console: Console, record: Mapping[str, Any]) -> None:
    """For each error allowed the threshold that promises it, what it answers and the error observed; then the AURC."""
    curve, promises = record["risk_coverage"], record["promises"]
    levels = sorted({f"{promise['level']:.0%}" for promise in promises})

    def share(key: str, promise: Mapping[str, Any]) -> str:
        return "–" if promise[key] is None else f"{promise[key]:.1%}"

    def up(value: float, scale: int) -> float:
        return math.ceil(1000 * value) / scale

    # Rounded up, so that answering from the number shown keeps the promise.
    thresholds = ["none" if one["threshold"] is None else f"{up(one['threshold'], 1000):.3f}" for one in promises]
    least = ["–" if one["smallest_error"] is None else f"{up(one['smallest_error'], 10):.1f}%" for one in promises]
    columns = (
        Column("error allowed", [*(f"{100 * one['error']:g}%" for one in promises), "all"]),
        Column("confidence from", [*thresholds, ""]),
        Column("answered", [*(f"{one['coverage']:.1%}" for one in promises), "100.0%"]),
        Column("of these wrong", [*(share("answered_error", one) for one in promises), f"{curve['risk'][-1]:.1%}"]),
        Column("least possible", [*least, ""], drop=1),
    )
    title = f"Answering only where the confidence is high enough (level {', '.join(levels) or '–'})"
    # Where an error could be promised the last column says as much as the reason.
    reasons = {f" {promise['reason']}." for promise in promises if promise["smallest_error"] is None}
    area = f"Area under risk and coverage (AURC): {curve['area']:.3f}.{''.join(sorted(reasons))}"
    print_table(console, columns, title, foot=1, note=area)


def audit_sentence(record: Mapping[str, Any]) -> str:
    """The protocol and what its audit found, or a warning that there was none."""
    audit = record["audit"]
    if not audit:
        return "Protocol: not audited; speakers of the training side may be among those tested."
    name, verdict = audit.get("protocol", "unnamed"), str(audit.get("verdict", "the audit gives no verdict"))
    return f"Protocol {name}: {verdict.rstrip('.')}."


def interval_text(interval: Sequence[float] | None) -> str:
    """Such as ``0.581 to 0.664``; empty where there is no interval."""
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
