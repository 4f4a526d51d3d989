"""What each rank did when, as a picture and as text, from plain records.

A record is one thing that a rank did, simulated or measured: a mapping with ``rank``, ``kind``, ``stage``,
``microbatch``, ``start`` and ``end``, in any unit of time. Its ``kind`` is ``F`` (forward), ``B`` (backward), or where
the backward pass is split ``I`` (gradient of the stage's input) or ``W`` (gradient of its weights).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from rich.console import Console
from rich.text import Text

from parallel_ser.errors import UserError
from parallel_ser.report.columns import Column, print_table
from parallel_ser.system.files import write_atomic

Records = Sequence[Mapping[str, Any]]

# Of Okabe & Ito's palette (2008), which the common kinds of colour blindness can tell apart; with the text's colour.
_COLOURS = {"F": ("#0072B2", "white"), "B": ("#D55E00", "white"), "I": ("#E69F00", "black"), "W": ("#009E73", "white")}
_NAMES = {"F": "forward", "B": "backward", "I": "input gradient", "W": "weight gradient"}
_MARKS = {"F": (" ", "blue"), "B": ("'", "red"), "I": ("'", "red"), "W": ('"', "green")}
_IDLE, _INK = "#E4E4E4", "#222222"
_THEORY = (
    "In flight: activations held at once, counted in micro-batches. Theory takes transfers to cost nothing, "
    "micro-batches to be many enough, and where backward passes are split F = I = W."
)
_KEY = "0 forward pass of micro-batch 0, 0' backward pass or input gradient, 0\" weight gradient, . idle"
_SUFFIXES = (".svg", ".png")


def timeline_picture(records: Records, path: Path, title: str = "") -> None:
    """Draw a row a rank and a box an action, with its micro-batch's number where it fits; what is grey is idle.

    Under the title stand the step and the bubble: the share of the ranks' time that is idle. What a rank's second stage
    does is underlined.

    Args:
        records: see the module.
        path: its suffix says which: ``.svg`` or ``.png``.
        title: what the picture shows.

    Raises:
        UserError: another suffix, no record, or the file cannot be written; nothing is left behind.
    """
    check_picture(path)
    if not records:
        raise UserError(f"nothing was done, so there is no timeline to draw in {path}.")
    start, step, ranks = _by_rank(records)
    width = min(16.0, max(6.5, 1.2 + 0.24 * step / _shortest(records)))
    figure = Figure(figsize=(width, 1.55 + 0.42 * len(ranks)), dpi=150, layout="constrained")
    axes = figure.subplots()
    points = 72 * (width - 1.0) / (step or 1.0)  # of a unit of time
    for row, own in enumerate(ranks.values()):
        axes.broken_barh([(0, step)], (row - 0.4, 0.8), facecolor=_IDLE, edgecolor="none")
        _draw_row(axes, own, row, start, points)
    axes.set(xlim=(0, step or 1.0), ylim=(len(ranks) - 0.5, -0.5), xlabel="time")
    axes.set_yticks(range(len(ranks)), [f"rank {rank}" for rank in ranks])
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    busy = sum(record["end"] - record["start"] for record in records)
    bubble = 1 - busy / (step * len(ranks)) if step else 0.0
    told = f"step {step:.4g}, bubble {abs(bubble):.1%}"  # no -0.0%
    axes.set_title(f"{title}\n{told}" if title else told, loc="left", fontsize=10, parse_math=False)
    kinds = {record["kind"] for record in records}
    handles: list[Artist] = [Patch(facecolor=_COLOURS[k][0], label=_NAMES[k]) for k in _NAMES if k in kinds]
    handles.append(Patch(facecolor=_IDLE, label="idle"))
    if len({(record["rank"], record["stage"]) for record in records}) > len(ranks):
        handles.append(Line2D([], [], color=_INK, linewidth=1.6, label="the rank's second stage"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8)
    _save(figure, path)


def check_picture(path: Path) -> None:
    """Refuse a path whose suffix is of no picture that can be drawn.

    Raises:
        UserError: names the suffixes that work.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UserError(f"{path} has no picture's suffix; use {' or '.join(_SUFFIXES)}.")


def _draw_row(axes: Axes, records: Records, row: int, origin: float, points: float) -> None:
    digits = max(len(str(record["microbatch"])) for record in records)
    stages = sorted({record["stage"] for record in records})
    for kind, (colour, ink) in _COLOURS.items():
        boxes = [(r["start"] - origin, r["end"] - r["start"], r) for r in records if r["kind"] == kind]
        if not boxes:
            continue
        narrowest = points * min(length for _, length, _ in boxes)
        spans = [(left, length) for left, length, _ in boxes]
        edge = min(0.7, 0.15 * narrowest)
        axes.broken_barh(spans, (row - 0.4, 0.8), facecolor=colour, edgecolor="white", linewidth=edge)
        for left, length, record in boxes:
            size = min(9.0, points * length / (0.65 * digits + 0.5))
            if size >= 5:
                x, label = left + length / 2, str(record["microbatch"])
                text = axes.text(x, row, label, ha="center", va="center", fontsize=size, color=ink)
                text.set_in_layout(False)  # the layout would measure every one of them
        for place, stage in enumerate(stages):
            under = [(left + 0.1 * length, left + 0.9 * length) for left, length, r in boxes if r["stage"] == stage]
            for line in range(place if under else 0):
                axes.hlines(
                    [row + 0.34 - 0.12 * line] * len(under), *zip(*under, strict=True), color=_INK, linewidth=1.6
                )


def text_timeline(records: Records, width: int | None = None) -> Text | None:
    """A line a rank; None where ``width`` characters do not hold a line.

    A column is as long as the shortest action and shows what is done in its middle.
    ``0`` is a forward pass of micro-batch 0, ``0'`` its backward pass or input gradient, ``0"`` its weight gradient and
    ``.`` idle time, as in this step of GPipe::

        rank 0  0 1 . . . 0'0'1'1'
        rank 1  . 0 1 0'0'1'1'. .
    """
    start, step, ranks = _by_rank(records)
    digits = max(len(str(record["microbatch"])) for record in records)
    names = {rank: f"rank {rank}" for rank in ranks}
    margin = max(map(len, names.values())) + 2
    tick = _shortest(records)
    columns = max(1, round(step / tick))
    if width is not None and margin + columns * (digits + 1) > width:
        return None
    lines = []
    for rank, records_of_it in ranks.items():
        line = Text(f"{names[rank]:<{margin}}")
        own = sorted(records_of_it, key=lambda record: (record["start"], record["end"]))
        place = 0
        for column in range(columns):
            moment = start + (column + 0.5) * tick
            while place < len(own) and own[place]["end"] <= moment:
                place += 1
            if place < len(own) and own[place]["start"] <= moment:
                mark, style = _MARKS[own[place]["kind"]]
                line.append(f"{own[place]['microbatch']:>{digits}}{mark}", style)
            else:
                line.append(f"{'.':>{digits}} ", "dim")
        line.rstrip()
        lines.append(line)
    return Text("\n").join(lines)


def print_schedule(console: Console, record: Mapping[str, Any], title: str) -> None:
    """Print what a schedule costs: a row a rank, the step beside theory and ideal, and the timeline where it fits.

    The record has ``step``, ``ideal_step``, ``theory_step``, ``bubble`` and ``theory_bubble``; ``per_rank``, each with
    ``rank``, ``busy``, ``idle``, ``bubble``, ``in_flight`` and ``theory_in_flight``; and ``actions``.
    """
    console.print(Text(title, style="bold"), soft_wrap=True)
    rows = record["per_rank"]
    ranks = [Column(name, [f"{row[name]:.6g}" for row in rows]) for name in ("rank", "busy", "idle")]
    ranks.append(Column("bubble", [f"{row['bubble']:.1%}" for row in rows]))
    ranks.append(Column("most in flight", [_number(row["in_flight"], ".4g") for row in rows]))
    ranks.append(Column("by theory", [_number(row["theory_in_flight"], ".4g") for row in rows]))
    print_table(console, ranks)
    steps = [_number(record[name], ".6g") for name in ("step", "theory_step", "ideal_step")]
    bubbles = [_number(share, ".1%") for share in (record["bubble"], record["theory_bubble"], 0)]
    sides = zip(("simulated", "by theory", "ideal"), steps, bubbles, strict=True)
    print_table(console, [Column("", ["step", "bubble"]), *(Column(name, own) for name, *own in sides)])
    console.print(Text(_THEORY))
    lines = text_timeline(record["actions"], console.width)
    if lines is None:
        console.print(Text("The timeline is wider than this terminal; --out FILE.svg draws it."))
    else:
        console.print(lines, soft_wrap=True)
        console.print(Text(_KEY, style="dim"))


def _number(value: float | None, form: str) -> str:
    """A schedule of one's own has no theory."""
    return "–" if value is None else format(value, form)


def _by_rank(records: Records) -> tuple[float, float, dict[int, Records]]:
    """When the first starts, how long all take, and the records of each rank."""
    start = min(record["start"] for record in records)
    ranks: dict[int, list[Mapping[str, Any]]] = {rank: [] for rank in sorted({record["rank"] for record in records})}
    for record in records:
        ranks[record["rank"]].append(record)
    return start, max(record["end"] for record in records) - start, {**ranks}


def _shortest(records: Records) -> float:
    return float(min((r["end"] - r["start"] for r in records if r["end"] > r["start"]), default=1.0))


def _save(figure: Figure, path: Path) -> None:
    kind = path.suffix.lower()[1:]
    # The same records give the same file: no date, and names within it that are not drawn by chance.
    metadata = {"Date": None} if kind == "svg" else {}
    with rc_context({"svg.hashsalt": "timeline"}):
        write_atomic(path, lambda file: figure.savefig(file, format=kind, metadata=metadata))
