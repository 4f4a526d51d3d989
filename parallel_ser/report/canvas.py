"""What the PNG pictures share: size, colours, and being written whole or not at all.

Matplotlib's object interface alone: no window, no state shared between two pictures.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from parallel_ser.system.files import write_atomic

DPI = 150
# Of Okabe & Ito's palette (2008), which the common kinds of colour blindness can tell apart.
BLUE, SKY, ORANGE, GREY = "#0072B2", "#56B4E9", "#D55E00", "#555555"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, whose parts keep clear of each other."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(axes: Axes) -> None:
    """Take away the lines above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)


def save(figure: Figure, path: Path) -> None:
    """Write ``figure`` as PNG.

    Raises:
        UserError: the file cannot be written; nothing is left behind.
    """
    write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=DPI, bbox_inches=None))
