"""A result as tables in a terminal, from the plain record of ``metrics.json``; fits 80 columns for 8 classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from rich import box
from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

from parallel_ser.system.terminal import printable

NOTICE = "Research output, not a diagnosis: it says how acted or labelled emotions were told apart, nothing of health."
MAX_SPEAKERS = 48
"""More speakers than this are not listed in a terminal; ``metrics.json`` holds them all."""

_WIDTH = 76


def print_metrics(console: Console, record: Mapping[str, Any]) -> None:
    """Print all of a result: summary, folds and sexes, classes with their confusions, speakers, audit, notice."""
    console.print(results_table(record))
    for note in record["notes"]:
        console.print(Text(f"Note: {note}."))
    folds = groups_table("By fold", "fold", record["per_fold"])
    if record["fold_uar_std"] is not None:
        folds.add_section()
        folds.add_row("mean", "", f"{record['fold_uar_mean']:.3f}", "")
        folds.add_row("± std", "", f"{record['fold_uar_std']:.3f}", "")
    console.print(Columns([folds, groups_table("By sex", "sex", record["per_sex"])], padding=(0, 4)))
    console.print(confusion_table(record))
    console.print(speakers_table(record))
    console.print(Text(audit_sentence(record)))
    console.print(Text(NOTICE))


def results_table(record: Mapping[str, Any]) -> Table:
    """The figures of the whole test set beside what guessing gives."""
    table = _table(f"Result on {record['n']} utterances of {_count(record['speakers'], 'speaker')}")
    table.add_column("measure", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("95% interval", no_wrap=True)
    table.add_column("by guessing", no_wrap=True)
    guess = {"uar": f"{record['chance']:.3f} (chance)", "wa": f"{record['majority_wa']:.3f} (majority)"}
    for key, name in (("uar", "UAR (unweighted average recall)"), ("wa", "WA (accuracy)")):
        value = Text(f"{record[key]['value']:.3f}", style="bold")
        table.add_row(name, value, interval_text(record[key]["interval"]) or "–", guess[key])
    table.add_row("macro F1", f"{record['macro_f1']:.3f}", "", "")
    table.add_row("mean confidence", f"{record['mean_confidence']:.3f}", "", "")
    table.add_row("mean confidence − accuracy", f"{record['confidence_gap']:+.3f}", "", "")
    table.caption = Text(f"Intervals: {record['interval_note']}.")
    return table


def groups_table(title: str, label: str, groups: Sequence[Mapping[str, Any]]) -> Table:
    """UAR and WA of each fold or sex."""
    table = _table(title)
    table.add_column(label)
    for name in ("n", "UAR", "WA"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in groups:
        table.add_row(Text(group["name"]), str(group["n"]), f"{group['uar']:.3f}", f"{group['wa']:.3f}")
    return table


def confusion_table(record: Mapping[str, Any]) -> Table:
    """Counts with the truth in rows and what was predicted in columns; then each class's support and recall."""
    table = _table("Confusion (rows: truth, columns: predicted)")
    table.add_column("")
    for name in short_names(record["classes"]):
        table.add_column(Text(name), justify="right", no_wrap=True)
    table.add_column("n", justify="right", no_wrap=True)
    table.add_column("recall", justify="right", no_wrap=True)
    for index, (result, counts) in enumerate(zip(record["per_class"], record["confusion"], strict=True)):
        cells = [Text(str(count) if count else "·", style="dim" if not count else "") for count in counts]
        cells[index].stylize("bold")
        recall = "–" if result["recall"] is None else f"{result['recall']:.3f}"
        table.add_row(Text(result["name"]), *cells, str(result["support"]), recall)
    return table


def speakers_table(record: Mapping[str, Any]) -> Table:
    """UAR of each speaker, the lowest first, several speakers a line."""
    speakers = sorted(record["per_speaker"], key=lambda group: (group["uar"], group["name"]))
    shown, hidden = speakers[:MAX_SPEAKERS], len(speakers[MAX_SPEAKERS:])
    longest = max(len(group["name"]) for group in shown)
    cells = [Text(f"{group['name']:<{longest}}  {group['uar']:.3f}") for group in shown]
    lines = -(-len(cells) // max(1, _WIDTH // (longest + 10)))
    table = _table("UAR by speaker, lowest first")
    table.show_header = False
    for line in range(lines):
        table.add_row(*cells[line::lines])
    if hidden:
        table.caption = f"{hidden} more with a higher UAR are in metrics.json."
    return table


def decisions_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """What was heard in each file: emotion, confidence, and the two that come next."""
    table = _table("Heard in each file")
    table.add_column("file", overflow="fold")
    for name in ("emotion", "confidence", "then", "s", "SNR dB"):
        table.add_column(name, justify="left" if name in ("emotion", "then") else "right", no_wrap=name != "then")
    names = [PurePath(row["file"]).name for row in rows]
    short = len(set(names)) == len(names)
    for row, name in zip(rows, names, strict=True):
        then = ", ".join(f"{emotion} {share:.2f}" for emotion, share in list(row["probabilities"].items())[1:3])
        table.add_row(
            Text(printable(name if short else row["file"])),
            Text(row["emotion"], style="bold"),
            f"{row['confidence']:.2f}",
            then,
            f"{row['seconds']:.1f}",
            f"{row['snr_db']:.0f}",
        )
    return table


def calibration_table(record: Mapping[str, Any]) -> Table:
    """ECE, Brier score and log loss before and after calibration; the record is that of ``report/calibration.py``."""
    table = _table(f"Calibration on {record['n']} utterances of {_count(record['speakers'], 'speaker')}")
    table.add_column("measure (lower is better)", no_wrap=True)
    for name in ("before", f"after ({record['method']})"):
        table.add_column(name, justify="right", no_wrap=True)
    names = {"ece": "ECE (expected calibration error)", "brier": "Brier score (0 to 2)", "log_loss": "log loss (nats)"}
    for key, name in names.items():
        table.add_row(name, f"{record['before'][key]:.3f}", f"{record['after'][key]:.3f}")
    return table


def promises_table(record: Mapping[str, Any]) -> Table:
    """For each error allowed the threshold that promises it, what it answers and the error observed; then the AURC."""
    curve = record["risk_coverage"]
    levels = sorted({f"{promise['level']:.0%}" for promise in record["promises"]})
    table = _table(f"Answering only where the confidence is high enough (level {', '.join(levels) or '–'})")
    table.add_column("error allowed", justify="right")
    for name in ("confidence from", "answered", "of these wrong", "least possible"):
        table.add_column(name, justify="right")
    for promise in record["promises"]:
        threshold, wrong, least = (promise[key] for key in ("threshold", "answered_error", "smallest_error"))
        table.add_row(
            f"{100 * promise['error']:g}%",
            # Rounded up, so that answering from the number shown keeps the promise.
            "none" if threshold is None else f"{math.ceil(1000 * threshold) / 1000:.3f}",
            f"{promise['coverage']:.1%}",
            "–" if wrong is None else f"{wrong:.1%}",
            "–" if least is None else f"{math.ceil(1000 * least) / 10:.1f}%",
        )
    table.add_section()
    table.add_row("all", "", "100.0%", f"{curve['risk'][-1]:.1%}", "")
    # Where an error could be promised the last column says as much as the reason.
    reasons = {f" {promise['reason']}." for promise in record["promises"] if promise["smallest_error"] is None}
    table.caption = Text(f"Area under risk and coverage (AURC): {curve['area']:.3f}.{''.join(sorted(reasons))}")
    return table


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


def short_names(names: Sequence[str], least: int = 3) -> list[str]:
    """The names cut to the fewest letters, at least ``least``, that still tell them apart.

    >>> short_names(["happy", "sad", "happiness"])
    ['happy', 'sad', 'happi']
    """
    longest = max(map(len, names))
    length = next((k for k in range(least, longest) if len({name[:k] for name in names}) == len(names)), longest)
    return [name[:length] for name in names]


def _table(title: str) -> Table:
    return Table(title=Text(title, style="bold"), title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
