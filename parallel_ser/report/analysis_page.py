"""An analysis of a recording as one HTML file that needs no network and plays its segments."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from parallel_ser.report.columns import short_names
from parallel_ser.system.files import write_text
from parallel_ser.system.terminal import printable

_TEMPLATE = "analysis.html.jinja"
_ROWS = 30  # of a timeline, at most
_ROW_SECONDS = (30, 60, 120, 300, 600, 1200, 3600)
_POINTS = 400  # of a row's waveform
_GAP = 30.0  # s without speech at which a curve breaks off
_STATUS = {
    "answered": "recognised",
    "uncertain": "uncertain: below the threshold",
    "rejected": "rejected: not recognised",
    "other": "speech of other people",
    "silent": "no speech found",
}


def write_page(
    path: Any, record: Mapping[str, Any], envelope: np.ndarray, clips: Mapping[int, bytes], kind: str
) -> None:
    """Write the page.

    Args:
        path: of the file.
        record: of ``analysis.analyse.record``, with ``date``, ``task`` and ``series``.
        envelope: highest magnitude of each 32 ms, 0 to 255.
        clips: of each segment, by its place, a file that a browser plays; none of them for a report without sound.
        kind: their media type.
    """
    from jinja2 import Environment, PackageLoader, select_autoescape
    from markupsafe import Markup

    environment = Environment(loader=PackageLoader("parallel_ser.report", "."), autoescape=select_autoescape(["jinja"]))
    environment.filters |= {
        "clock": clock,
        "minutes": minutes,
        "signed": signed,
    }
    sounds = {place: base64.b64encode(clip).decode() for place, clip in clips.items()}
    titles = {one["name"]: one for one in record["measure_titles"]}
    text = environment.get_template(_TEMPLATE).render(
        one=record,
        name=printable(record["file"]),
        total=_totals(record),
        rows=timeline(record, envelope),
        curves=curves(record),
        measures=measure_rows(record, titles),
        weeks=weeks(record, titles),
        shares=share_rows(record),
        short=dict(zip(record["classes"], short_names(record["classes"]), strict=True)),
        colour={name: place % 8 for place, name in enumerate(record["classes"])},
        clips=Markup(json.dumps(sounds)),  # numbers and base64 alone
        playable=set(sounds),
        kind=kind,
    )
    write_text(path, text)


def clock(seconds: float) -> str:
    """Such as ``1:02:03`` or ``2:03``."""
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"{rest // 60}:{rest % 60:02}"


def signed(value: float) -> str:
    """Such as ``+0.25``."""
    return f"{value:+.2f}".replace("-", "−")


def minutes(seconds: float) -> str:
    """Whole seconds, such as ``45 s``, ``3 min 20 s`` or ``1 h 5 min``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _totals(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Seconds of each status and their share, without those of which there are none."""
    seconds = max(record["seconds"], 1e-9)
    return [
        {"status": name, "text": text, "seconds": record["totals"][name], "share": record["totals"][name] / seconds}
        for name, text in _STATUS.items()
        if record["totals"][name] > 0.0 or name in ("answered", "rejected")
    ]


def timeline(record: Mapping[str, Any], envelope: np.ndarray) -> list[dict[str, Any]]:
    """Rows of equal length with the waveform as an SVG path and the segments in per cent of the row."""
    seconds = record["seconds"]
    fits = next((one for one in _ROW_SECONDS if seconds / one <= _ROWS), _ROW_SECONDS[-1])
    length = float(min(fits, max(1, math.ceil(seconds))))
    frames = max(1, round(length / 0.032))
    top = max(1, int(np.percentile(envelope, 99.9))) if len(envelope) else 1
    found = []
    for number in range(max(1, math.ceil(seconds / length))):
        start, end = number * length, (number + 1) * length
        own = envelope[number * frames : (number + 1) * frames]
        parts = [
            _placed(place, one, start, length)
            for place, one in enumerate(record["segments"])
            if one["start"] < end and one["end"] > start
        ]
        found.append({"start": start, "end": min(end, seconds), "wave": _wave(own, frames, top), "segments": parts})
    return found


def _placed(place: int, one: Mapping[str, Any], start: float, length: float) -> dict[str, Any]:
    left = max(0.0, one["start"] - start)
    right = min(length, one["end"] - start)
    return {"place": place, "left": 100 * left / length, "width": 100 * (right - left) / length, "segment": one}


def _wave(levels: np.ndarray, frames: int, top: int) -> str:
    """A closed path in a box of 1000 by 100."""
    if not len(levels):
        return ""
    step = max(1, frames // _POINTS)
    count = -(-len(levels) // step)
    highest = np.pad(levels, (0, count * step - len(levels))).reshape(count, step).max(axis=1)
    heights = np.minimum(highest / top, 1.0) * 46 + 1
    across = (np.arange(count) + 0.5) * step / frames * 1000
    above = [f"{x:.0f},{50 - y:.0f}" for x, y in zip(across, heights, strict=True)]
    below = [f"{x:.0f},{50 + y:.0f}" for x, y in zip(across[::-1], heights[::-1], strict=True)]
    return "M" + " L".join([*above, *below]) + "Z"


def curves(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Smoothed arousal and valence over the recording as polylines in a box of 1000 by 100, broken at long silences."""
    own = [one for one in record["segments"] if one["arousal"] is not None]
    seconds = max(record["seconds"], 1e-9)
    found = []
    for name in ("arousal", "valence"):
        lines: list[list[str]] = []
        before = -math.inf
        for one in own:
            middle = 0.5 * (one["start"] + one["end"])
            if middle - before > _GAP:
                lines.append([])
            before = middle
            lines[-1].append(f"{1000 * middle / seconds:.1f},{50 - 45 * one[name]:.1f}")
        paths = [" ".join(points if len(points) > 1 else points * 2) for points in lines]
        found.append({"name": name, "lines": paths, **record["dimensions"].get(name, {"value": None, "low": None})})
    return found


def share_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Shares with their arousal and valence, the most activated first: no ranking of what is heard how often."""
    rows = [{**one, "mapping": record["mapping"][one["emotion"]]} for one in record["shares"]]
    return sorted(rows, key=lambda row: (-row["mapping"][0], -row["mapping"][1]))


def measure_rows(record: Mapping[str, Any], titles: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The measures in their order, with the person's own baseline where there is one."""
    series = record["series"] or {"bands": {}}
    found = []
    for name, title in titles.items():
        if name not in record["measures"]:
            continue
        value, digits = record["measures"][name], title["digits"]
        row = {**title, "value": f"{value['value']:.{digits}f}", "interval": "", "band": "", "where": ""}
        if value["low"] is not None:
            row["interval"] = f"{value['low']:.{digits}f} to {value['high']:.{digits}f}"
        if (own := series["bands"].get(name)) and title["compared"]:
            row["band"] = f"{own['mean']:.{digits}f} ({own['low']:.{digits}f} to {own['high']:.{digits}f})"
            above, below = value["value"] > own["high"], value["value"] < own["low"]
            row["where"] = "above the band" if above else "below the band" if below else "within the band"
        found.append(row)
    return found


def weeks(record: Mapping[str, Any], titles: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each measure a small chart over the person's sessions in a box of 300 by 90, with the baseline's band."""
    series = record["series"]
    if not series or len(series["sessions"]) < 2:
        return []
    days = [np.datetime64(one["date"]).astype(int) for one in series["sessions"]]
    first, span = days[0], max(days[-1] - days[0], 1)
    found = []
    for name, title in [*_DIMENSIONS, *titles.items()]:
        kind = "dimensions" if name in ("arousal", "valence") else "measures"
        points = [
            (day, one[kind][name], one) for day, one in zip(days, series["sessions"], strict=True) if name in one[kind]
        ]
        if len(points) < 2:
            continue
        band = series["bands"].get(name) if title.get("compared", True) else None
        ends = [*(part for _, one, _ in points for part in (one["value"], one["low"], one["high"]) if part is not None)]
        ends += [band["low"], band["high"]] if band else []
        low, high = min(ends), max(ends)
        margin = 0.08 * (high - low) or 1.0
        low, high = low - margin, high + margin

        def across(day: int, first: int = first, span: int = span) -> float:
            return round(10 + 280 * (day - first) / span, 1)

        def up(value: float, low: float = low, high: float = high) -> float:
            return round(85 - 80 * (value - low) / (high - low), 1)

        found.append(
            {
                **title,
                "low_text": f"{low + margin:.{title['digits']}f}",
                "high_text": f"{high - margin:.{title['digits']}f}",
                "band": band and {"y": up(band["high"]), "height": round(up(band["low"]) - up(band["high"]), 1)},
                "mean": band and up(band["mean"]),
                "points": [_point(day, one, session, across, up, title["digits"]) for day, one, session in points],
            }
        )
    return found


_DIMENSIONS: Sequence[tuple[str, Mapping[str, Any]]] = (
    ("arousal", {"name": "arousal", "title": "Arousal", "unit": "-1 to 1", "digits": 2}),
    ("valence", {"name": "valence", "title": "Valence", "unit": "-1 to 1", "digits": 2}),
)


def _point(day: int, one: Mapping[str, Any], session: Mapping[str, Any], across: Any, up: Any, digits: int) -> Any:
    bar = None if one["low"] is None else (up(one["low"]), up(one["high"]))
    text = f"{session['date']}: {one['value']:.{digits}f}"
    return {"x": across(day), "y": up(one["value"]), "bar": bar, "text": text, "session": session}
