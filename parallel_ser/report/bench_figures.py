"""Pictures of a benchmark from its plain rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import PercentFormatter
from matplotlib.transforms import Bbox

from parallel_ser.report.canvas import BLUE, GREY, ORANGE, SKY, new_figure, plain, save

Row = Mapping[str, Any]

_MARKS = "osD^vPX*"


def speed_picture(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw how many times as fast as the single process each row is, with its interval, beside where its step goes.

    Raises:
        UserError: the file cannot be written; nothing is left behind.
    """
    shown = [row for row in rows if row["step_ms"] is not None]
    figure = new_figure(10.0, 1.6 + 0.32 * len(shown))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[1.1, 1])
    places = range(len(shown))
    for place, row in zip(places, shown, strict=True):
        value = 1.0 if row["reference"] else row["speedup"]
        if value is None:
            continue
        bad = any(flag.startswith("INVALID") for flag in row["flags"])
        left.plot(value, place, "x" if bad else "o", color=GREY if bad else ORANGE if row["reference"] else BLUE)
        if row["speedup_interval"] and not bad:
            left.hlines(place, *row["speedup_interval"], color=BLUE, linewidth=1.5)
    left.axvline(1.0, color=GREY, linewidth=0.8, linestyle=":")
    left.set_yticks(list(places), [row["name"] for row in shown], fontsize=9)
    left.invert_yaxis()
    left.set_xlabel("times as fast as the single process on the same cores")
    _draw_shares(right, shown)
    for axes in (left, right):
        plain(axes)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    save(figure, path)


def _draw_shares(axes: Any, rows: Sequence[Row]) -> None:
    start = [0.0] * len(rows)
    colours = {"compute": BLUE, "communication": ORANGE, "bubble": SKY, "imbalance": GREY}
    for name, colour in colours.items():
        widths = [row[name] or 0.0 for row in rows]
        axes.barh(range(len(rows)), widths, left=start, color=colour, height=0.6, label=name)
        start = [one + width for one, width in zip(start, widths, strict=True)]
    axes.set_xlim(0.0, 1.0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("share of the step")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, fontsize=8, frameon=False)


def memory_picture(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw throughput against the memory of the fullest process.

    Raises:
        UserError: the file cannot be written; nothing is left behind.
    """
    shown = [row for row in rows if row["step_ms"] is not None]
    figure = new_figure(8.0, 5.0)
    axes = figure.subplots()
    for place, row in enumerate(shown):
        mark = _MARKS[place % len(_MARKS)]
        colour = ORANGE if row["reference"] else BLUE if place < len(_MARKS) else SKY
        axes.plot(row["memory_mib"], row["utterances_s"], mark, color=colour, label=row["name"], linestyle="none")
    axes.set_xlabel("MiB of the fullest process above what it imports")
    axes.set_ylabel("utterances trained on a second")
    axes.set_ylim(bottom=0.0)
    axes.set_xlim(left=0.0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    plain(axes)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    save(figure, path)


def scaling_picture(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw the efficiency of strong and weak scaling over the processes, with the ideal.

    Raises:
        UserError: the file cannot be written; nothing is left behind.
    """
    figure = new_figure(9.0, 4.2)
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), ("strong", "weak"), strict=True):
        shown = [row for row in rows if row["group"] == kind and row["efficiency"] is not None]
        names = dict.fromkeys(_scaled(row["name"], kind) for row in shown if not row["reference"])
        for place, name in enumerate(names):
            own = [row for row in shown if row["reference"] or _scaled(row["name"], kind) == name]
            ranks = [row["ranks"] for row in own]
            axes.plot(ranks, [row["efficiency"] for row in own], f"-{_MARKS[place % len(_MARKS)]}", label=name)
        counts = sorted({row["ranks"] for row in rows})
        axes.axhline(1.0, color=GREY, linestyle=":", label="ideal")
        axes.set_xscale("log", base=2)
        axes.set_xticks(counts, [str(one) for one in counts])
        axes.set_title(f"{kind} scaling", loc="left", fontsize=10)
        axes.set_xlabel("processes, one core each")
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_ylim(bottom=0.0)
        plain(axes)
    figure.axes[0].set_ylabel("efficiency")
    figure.axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    save(figure, path)


def _scaled(name: str, kind: str) -> str:
    """The strategy of a row such as ``strong ddp, 2``."""
    return name.removeprefix(f"{kind} ").rpartition(",")[0]


def bubble_picture(rows: Sequence[Row], title: str, path: Path) -> None:
    """Draw throughput and idle share over micro-batches, the latter with what the simulator and the theory say.

    Raises:
        UserError: the file cannot be written; nothing is left behind.
    """
    figure: Figure = new_figure(9.0, 4.2)
    left, right = figure.subplots(1, 2)
    colours = (BLUE, ORANGE, SKY, GREY)
    for colour, group in zip(colours, dict.fromkeys(row["group"] for row in rows), strict=False):
        own = [row for row in rows if row["group"] == group and row["step_ms"] is not None]
        counts = [row["microbatches"] for row in own]
        left.plot(counts, [row["utterances_s"] for row in own], "-o", color=colour, label=group)
        right.plot(counts, [row["idle"] for row in own], "o", color=colour, label=f"{group}, measured")
        simulated = [row["predicted_idle"] for row in own]
        right.plot(counts, simulated, "-", color=colour, linewidth=1.0, label=f"{group}, simulated")
        if group == rows[0]["group"]:  # of equal stages all orders idle alike
            equal = [row["expected_bubble"] for row in own]
            right.plot(counts, equal, "--", color=GREY, linewidth=1.0, label="equal stages, in theory")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        counts = sorted({row["microbatches"] for row in rows})
        axes.set_xticks(counts, [str(one) for one in counts])
        axes.set_xlabel("micro-batches")
        axes.set_ylim(bottom=0.0)
        axes.legend(fontsize=8, frameon=False)
        plain(axes)
    left.set_ylabel("utterances trained on a second")
    right.set_ylabel("share of the step that ranks are idle")
    right.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    save(figure, path)


def costs_picture(points: Sequence[Row], cost: str, axis: str, title: str, path: Path) -> None:
    """Draw ``value`` (up, ``axis``) against ``cost`` (to the right, logarithmic), a line from ``low`` to ``high``.

    Raises:
        UserError: the file cannot be written; nothing is left behind.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    figure = new_figure(8.0, 5.0)
    axes = figure.subplots()
    axes.set_xscale("log")
    labels = []
    for one in points:
        axes.vlines(one["cost"], one["low"], one["high"], color=SKY, linewidth=2.0)
        axes.plot(one["cost"], one["value"], "o", color=BLUE, markersize=6)
        point = (one["cost"], one["value"])
        labels.append(axes.annotate(one["name"], point, (7, 0), textcoords="offset points", va="center"))
    axes.margins(x=0.25, y=0.1)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(cost)
    axes.set_ylabel(axis)
    plain(axes)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    _apart(figure, labels)
    save(figure, path)


def _apart(figure: Figure, labels: Sequence[Annotation]) -> None:
    """Raise each label that would lie on one before it."""
    figure.draw_without_rendering()
    boxes: list[Bbox] = []
    for label in labels:
        height = 0.0
        while any(label.get_window_extent().overlaps(box) for box in boxes):
            height += 6.0
            label.xyann = (7.0, height)
        boxes.append(label.get_window_extent())


def bars_picture(bars: Sequence[Row], axis: str, title: str, path: Path) -> None:
    """Draw a point for each of ``bars`` (``name``, ``value``) and a line from its ``low`` to its ``high``.

    Raises:
        UserError: the file cannot be written; nothing is left behind.
    """
    figure = new_figure(8.0, 1.2 + 0.32 * max(1, len(bars)))
    axes = figure.subplots()
    places = range(len(bars))
    axes.barh(places, [one["value"] for one in bars], color=SKY, height=0.55)
    for place, one in zip(places, bars, strict=True):
        axes.hlines(place, one["low"], one["high"], color=BLUE, linewidth=2.0)
        text = f"{one['value']:,.0f}" if one["value"] >= 100 else f"{one['value']:.3g}"
        axes.annotate(text, (one["high"], place), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(list(places), [one["name"] for one in bars], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(left=0.0)
    axes.margins(x=0.12)
    axes.set_xlabel(axis)
    plain(axes)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    save(figure, path)
