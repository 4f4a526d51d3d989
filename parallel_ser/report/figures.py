"""Pictures of a result and of a training, PNG files from plain records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from parallel_ser.errors import UserError
from parallel_ser.report.canvas import BLUE, GREY, ORANGE, SKY, new_figure, plain, save


def confusion_picture(record: Mapping[str, Any], path: Path) -> None:
    """Draw ``confusion_figure`` into a file.

    Raises:
        UserError: the file cannot be written; nothing is left behind.
    """
    save(confusion_figure(record), path)


def confusion_figure(record: Mapping[str, Any]) -> Figure:
    """The confusion matrix of a ``metrics.json`` record: shade is the share of the row, cells say counts too."""
    side = _matrix_inches(record)
    figure = new_figure(side + 2.0, side + 1.5)
    axes = figure.subplots()
    _draw_confusion(figure, axes, record)
    figure.suptitle(_title(record), x=0.01, ha="left", fontsize=11, parse_math=False)
    return figure


def summary_picture(record: Mapping[str, Any], path: Path) -> None:
    """Draw a result for a README: confusion matrix, recall of each class against chance, UAR of each speaker.

    Raises:
        UserError: the file cannot be written; nothing is left behind.
    """
    side = _matrix_inches(record)
    figure = new_figure(side + 6.5, side + 1.5)
    axes = figure.subplot_mosaic([["confusion", "recall"], ["confusion", "speakers"]], width_ratios=[side + 1.2, 4.5])
    _draw_confusion(figure, axes["confusion"], record, colourbar=False)
    _draw_recalls(axes["recall"], record)
    _draw_speakers(axes["speakers"], record)
    figure.suptitle(_title(record), x=0.01, ha="left", fontsize=12, parse_math=False)
    save(figure, path)


def training_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the training loss and the selection split's UAR and WA of each epoch.

    ``history`` has one row an epoch with ``epoch``, ``loss``, ``select_uar`` and ``select_wa`` (None where unknown).

    Raises:
        UserError: no epoch was finished, or the file cannot be written; nothing is left behind.
    """
    if not history:
        raise UserError(f"no epoch was finished, so there is no curve to draw in {path}; train for at least one.")
    epochs, loss, uar, wa = (
        np.array([np.nan if row[key] is None else row[key] for row in history], dtype=float)
        for key in ("epoch", "loss", "select_uar", "select_wa")
    )
    mark = "o" if len(history) < 40 else ""
    figure = new_figure(7.0, 5.0)
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(epochs, loss, color=GREY, marker=mark, markersize=3)
    above.set_ylabel("training loss")
    below.plot(epochs, uar, color=BLUE, marker=mark, markersize=3, label="UAR")
    below.plot(epochs, wa, color=ORANGE, marker=mark, markersize=3, linestyle="--", label="WA (accuracy)")
    if np.isfinite(uar).any():
        best = int(np.nanargmax(uar))
        below.axvline(epochs[best], color=GREY, linewidth=0.8, linestyle=":")
        below.plot(epochs[best], uar[best], "*", color=BLUE, markersize=13, zorder=3)
        title = f"Highest selection UAR {uar[best]:.3f}, epoch {epochs[best]:g} of {epochs[-1]:g}"
        above.set_title(title, loc="left", fontsize=11)
    below.set(xlabel="epoch", ylabel="selection split", ylim=(0, 1))
    below.set_xlim(epochs[0] - 0.5, epochs[-1] + 0.5)
    below.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    below.legend(loc="lower right")
    for axes in (above, below):
        plain(axes)
        axes.grid(alpha=0.3)
    save(figure, path)


def _draw_confusion(figure: Figure, axes: Axes, record: Mapping[str, Any], colourbar: bool = True) -> None:
    counts = np.array(record["confusion"])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        count = counts[row, column]
        if count:
            axes.text(
                column,
                row,
                f"{share:.0%}\n{count}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share > 0.55 else "black",
                fontweight="bold" if row == column else "normal",
            )
    ticks = range(len(counts))
    names = record["classes"]
    axes.set_xticks(ticks, names, rotation=40, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(ticks, names, parse_math=False)
    axes.set(xlabel="predicted", ylabel="truth")
    axes.tick_params(length=0)
    # White lines between the cells.
    axes.set_xticks(np.arange(0.5, len(counts) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(counts) - 1), minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    axes.spines[:].set_visible(False)
    if colourbar:
        bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
        bar.set_label("share of the true emotion's utterances")
        bar.outline.set_visible(False)


def _draw_recalls(axes: Axes, record: Mapping[str, Any]) -> None:
    results = record["per_class"]
    places = list(range(len(results)))
    axes.barh(places, [result["recall"] or 0.0 for result in results], color=SKY, height=0.7)
    for place, result in zip(places, results, strict=True):
        recall = result["recall"]
        text = "no utterance" if recall is None else f"{recall:.2f}"
        axes.text((recall or 0.0) + 0.015, place, text, va="center", fontsize=8)
    axes.axvline(record["chance"], color=ORANGE, linestyle="--", linewidth=1.5, label=f"chance {record['chance']:.3f}")
    axes.set_yticks(places, [result["name"] for result in results], parse_math=False)
    axes.invert_yaxis()
    _unit_axis(axes, "Recall of each emotion")


def _draw_speakers(axes: Axes, record: Mapping[str, Any]) -> None:
    speakers = sorted(record["per_speaker"], key=lambda group: (group["uar"], group["name"]))
    dots = [group["uar"] for group in speakers]
    axes.plot(dots, range(len(speakers)), "o", color=BLUE, markersize=4, clip_on=False)  # one at 0 is whole, too
    axes.axvline(record["uar"]["value"], color=GREY, linewidth=1.2, label=f"all {record['uar']['value']:.3f}")
    axes.axvline(record["chance"], color=ORANGE, linestyle="--", linewidth=1.5)
    # Room around the dots, however few speakers there are.
    axes.set(yticks=[], ylim=(-1, len(speakers)), ylabel=_plural(len(speakers), "speaker"))
    _unit_axis(axes, "UAR of each speaker")


def _unit_axis(axes: Axes, title: str) -> None:
    axes.set(xlim=(0, 1.1), xticks=np.linspace(0, 1, 6))
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), frameon=False, fontsize=8, borderaxespad=0.2)
    plain(axes)


def _title(record: Mapping[str, Any]) -> str:
    interval = record["uar"]["interval"]
    within = f" (95% interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else " (no interval: few speakers)"
    audit = record["audit"] or {}
    protocol = f"protocol: {audit.get('protocol', 'not audited')}"
    # A picture travels without its table, so the one fact that voids its figure goes with it.
    if audit.get("test", {}).get("speakers", {}).get("shared"):
        protocol += ", SAME SPEAKERS IN TRAINING"
    return (
        f"UAR {record['uar']['value']:.3f}{within}\n"
        f"{protocol}\n{_plural(record['n'], 'utterance')} of {_plural(record['speakers'], 'speaker')}"
    )


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _matrix_inches(record: Mapping[str, Any]) -> float:
    return max(3.5, 0.62 * len(record["classes"]))
