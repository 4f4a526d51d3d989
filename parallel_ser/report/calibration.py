"""Pictures of calibration and abstention, PNG files from a plain record.

{
    "method": "temperature",             how the probabilities were calibrated
    "n": 1440, "speakers": 24,           what the figures below were measured on
    "before": {"ece", "brier", "log_loss", "reliability": [bin, ...]},
    "after":  the same of the calibrated probabilities,
    "risk_coverage": {"area", "coverage": [...], "risk": [...]},      coverage ascending to 1
    "promises": [promise, ...],          one for each error that was asked for
}
bin      {"low", "high", "n", "confidence", "accuracy"}, the last two None in an empty one
promise  {"error", "level", "threshold", "coverage", "answered_error", "binomial_bound", "speaker_bound",
          "smallest_error", "reason"}; from "threshold" to "speaker_bound" None or 0 where "reason" says why
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from parallel_ser.report.canvas import BLUE, GREY, ORANGE, SKY, new_figure, plain, save

_GREEN, _PURPLE = "#009E73", "#CC79A7"
_MARKS = (("o", ORANGE), ("s", _GREEN), ("D", _PURPLE), ("^", SKY), ("v", GREY))


def reliability_picture(record: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy against confidence before and after calibration, with how often each confidence occurs below.

    Raises:
        UserError: the file cannot be written; nothing is left behind.
    """
    figure = new_figure(8.5, 5.6)
    grid = figure.subplots(2, 2, sharex=True, sharey="row", height_ratios=[3.2, 1])
    sides = (("before", "Before calibration"), ("after", f"After calibration ({record['method']})"))
    for (above, below), (side, title) in zip(grid.T, sides, strict=True):
        measured = record[side]
        _draw_reliability(above, measured["reliability"])
        above.set_title(f"{title}\nECE {measured['ece']:.3f}, log loss {measured['log_loss']:.3f}", loc="left", size=10)
        _draw_histogram(below, measured["reliability"])
    grid[0, 0].set_ylabel("accuracy")
    grid[1, 0].set_ylabel("utterances")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower left", ncols=3, frameon=False, fontsize=8)
    figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr,call-arg]
    figure.suptitle(_whose(record), x=0.01, ha="left", fontsize=11, parse_math=False)
    save(figure, path)


def risk_coverage_picture(record: Mapping[str, Any], path: Path) -> None:
    """Draw the error among answered utterances against their share, with each threshold that was chosen.

    Raises:
        UserError: the file cannot be written; nothing is left behind.
    """
    curve = record["risk_coverage"]
    base = curve["risk"][-1]
    figure = new_figure(7.5, 4.6)
    axes = figure.subplots()
    label = f"the most confident first (area {curve['area']:.3f})"
    axes.plot(curve["coverage"], curve["risk"], color=BLUE, label=label)
    axes.axhline(base, color=GREY, linestyle="--", linewidth=1.2, label=f"all answered: error {base:.1%}")
    for index, promise in enumerate(record["promises"]):
        _draw_promise(axes, promise, *_MARKS[index % len(_MARKS)])
    axes.set(xlabel="coverage: utterances answered", ylabel="error among those answered", xlim=(0, 1.02))
    # The first few utterances err wildly; the rest is what the picture is for.
    settled = [risk for share, risk in zip(curve["coverage"], curve["risk"], strict=True) if share >= 0.05]
    axes.set_ylim(0, min(1.0, 1.15 * max([*settled, base, 0.01])))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=None))
    plain(axes)
    axes.grid(alpha=0.3)
    # Beside the curve no place is sure to be free.
    figure.legend(loc="outside lower left", frameon=False, fontsize=8)
    figure.suptitle(_whose(record), x=0.01, ha="left", fontsize=11, parse_math=False)
    save(figure, path)


def _draw_reliability(axes: Axes, bins: Sequence[Mapping[str, Any]]) -> None:
    full = [row for row in bins if row["n"]]
    confidence, accuracy = ([row[key] for row in full] for key in ("confidence", "accuracy"))
    axes.bar(
        [row["low"] for row in full],
        accuracy,
        width=[row["high"] - row["low"] for row in full],
        align="edge",
        color=SKY,
        edgecolor="white",
        label="accuracy",
    )
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2, label="as confident as right")
    # A bin's mean confidence, not its middle, is what its accuracy is held against.
    axes.vlines(confidence, accuracy, confidence, color=ORANGE, linewidth=2, label="gap to the mean confidence")
    axes.plot(confidence, accuracy, "o", color=BLUE, markersize=3, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    plain(axes)


def _draw_histogram(axes: Axes, bins: Sequence[Mapping[str, Any]]) -> None:
    lows = [row["low"] for row in bins]
    axes.bar(
        lows,
        [row["n"] for row in bins],
        width=[row["high"] - row["low"] for row in bins],
        align="edge",
        color=GREY,
        edgecolor="white",
    )
    axes.set(xlabel="confidence", xticks=np.linspace(0, 1, 6))
    plain(axes)


def _draw_promise(axes: Axes, promise: Mapping[str, Any], marker: str, colour: str) -> None:
    wanted = f"error ≤ {100 * promise['error']:g}%"
    if promise["threshold"] is None:
        axes.plot([], [], marker, color=colour, fillstyle="none", label=f"{wanted}: cannot be promised")
        return
    if promise["answered_error"] is None:
        label = f"{wanted}: from confidence {promise['threshold']:.3f} on; none answered"
        axes.plot([], [], marker, color=colour, label=label)
        return
    label = (
        f"{wanted}: from confidence {promise['threshold']:.3f} on; "
        f"{promise['coverage']:.0%} answered, {promise['answered_error']:.1%} wrong"
    )
    axes.plot(
        promise["coverage"], promise["answered_error"], marker, color=colour, markersize=8, label=label, clip_on=False
    )
    axes.vlines(promise["coverage"], 0, promise["answered_error"], color=colour, linewidth=1, linestyle=":")


def _whose(record: Mapping[str, Any]) -> str:
    return f"{record['n']} utterances of {record['speakers']} speaker{'s' * (record['speakers'] != 1)}"
