"""Segments as tables and as tiers of other programs: CSV, Parquet, WebVTT, Praat's TextGrid, ELAN's EAF."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from parallel_ser.system.csv_text import csv_text
from parallel_ser.system.terminal import printable

Row = dict[str, Any]


def rows(record: Mapping[str, Any]) -> list[Row]:
    """A flat row a segment, of ``analyse.record``; what is not there is None."""
    found = []
    for one in record["segments"]:
        quality = one["quality"]
        flat = {
            "start": round(one["start"], 3),
            "end": round(one["end"], 3),
            "status": one["status"],
            "reasons": " ".join(one["reasons"]),
            "speaker": one["speaker"],
            "emotion": one["emotion"],
            "confidence": one["confidence"] if one["emotion"] else None,
        }
        for kind, prefix in (("probabilities", "p"), ("smooth", "smooth")):
            flat |= {f"{prefix}.{name}": (one[kind] or {}).get(name) for name in record["classes"]}
        flat |= {name: one[name] for name in ("arousal", "valence", "novelty")}
        flat |= {name: quality[name] for name in ("snr_db", "band_hz", "clipped", "level_db")}
        flat |= {name: one["measures"].get(name) for name in record["measures"]}
        found.append(flat)
    return found


def comma_separated(table: Sequence[Row]) -> str:
    """One line a segment, whose texts no spreadsheet takes for a formula."""
    titles = list(table[0]) if table else ["start", "end", "status"]
    return csv_text([titles, *([row[name] for name in titles] for row in table)])


def write_parquet(path: Path, table: Sequence[Row]) -> bool:
    """Write the table where pyarrow is installed; whether it is."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        return False
    from parallel_ser.system.files import write_atomic

    made = pyarrow.Table.from_pylist(list(table))
    write_atomic(path, lambda file: pyarrow.parquet.write_table(made, file))
    return True


def label(one: Mapping[str, Any]) -> str:
    """What is said of a segment in one line."""
    if one["status"] == "rejected":
        return f"not recognised: {one['reasons'][0]}"
    if one["status"] == "other":
        return f"speaker {printable(one['speaker'])}"
    heard = f"{one['emotion']} {one['confidence']:.2f}"
    return f"uncertain ({heard})" if one["status"] == "uncertain" else heard


def webvtt(record: Mapping[str, Any]) -> str:
    """Captions for a player (W3C WebVTT)."""
    cues = [f"{_clock(one['start'])} --> {_clock(one['end'])}\n{escape(label(one))}\n" for one in record["segments"]]
    return "\n".join(["WEBVTT\n", *cues])


def text_grid(record: Mapping[str, Any]) -> str:
    """Interval tiers for Praat: what was heard, and arousal and valence."""
    tiers = {
        "emotion": [(one["start"], one["end"], label(one)) for one in record["segments"]],
        "arousal valence": [
            (one["start"], one["end"], f"{one['arousal']:+.2f} {one['valence']:+.2f}")
            for one in record["segments"]
            if one["arousal"] is not None
        ],
    }
    end = max([record["seconds"], *(one["end"] for one in record["segments"])])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end:.6f}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for number, (name, intervals) in enumerate(tiers.items(), 1):
        filled = list(_filled(intervals, end))
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f'        name = "{name}"']
        lines += ["        xmin = 0", f"        xmax = {end:.6f}", f"        intervals: size = {len(filled)}"]
        for place, (start, stop, text) in enumerate(filled, 1):
            quoted = text.replace('"', '""')
            lines += [
                f"        intervals [{place}]:",
                f"            xmin = {start:.6f}",
                f"            xmax = {stop:.6f}",
            ]
            lines.append(f'            text = "{quoted}"')
    return "\n".join(lines) + "\n"


def elan(record: Mapping[str, Any], made: datetime.datetime) -> str:
    """An annotation document for ELAN (EAF 3.0)."""
    slots, annotations = [], []
    for number, one in enumerate(record["segments"], 1):
        pair = (2 * number - 1, 2 * number)
        for slot, time in zip(pair, (one["start"], one["end"]), strict=True):
            slots.append(f'<TIME_SLOT TIME_SLOT_ID="ts{slot}" TIME_VALUE="{round(1000 * time)}"/>')
        annotations.append(
            f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number}" TIME_SLOT_REF1="ts{pair[0]}" '
            f'TIME_SLOT_REF2="ts{pair[1]}"><ANNOTATION_VALUE>{escape(label(one))}</ANNOTATION_VALUE>'
            "</ALIGNABLE_ANNOTATION></ANNOTATION>"
        )
    media = quoteattr(f"./{printable(record['file'])}")
    return "\n".join(
        [
            '<?xml version="1.0" encoding="UTF-8"?>',
            f'<ANNOTATION_DOCUMENT AUTHOR="parallel-ser" DATE="{made.isoformat(timespec="seconds")}" FORMAT="3.0" '
            'VERSION="3.0" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
            'xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">',
            f'<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"><MEDIA_DESCRIPTOR MEDIA_URL={media} '
            'MIME_TYPE="audio/x-wav"/></HEADER>',
            "<TIME_ORDER>",
            *slots,
            "</TIME_ORDER>",
            '<TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="emotion">',
            *annotations,
            "</TIER>",
            '<LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="default-lt" TIME_ALIGNABLE="true"/>',
            "</ANNOTATION_DOCUMENT>",
            "",
        ]
    )


def _filled(intervals: Sequence[tuple[float, float, str]], end: float) -> Iterator[tuple[float, float, str]]:
    """The intervals with empty ones between, from 0 to ``end``, none of which overlap."""
    before = 0.0
    for start, stop, text in intervals:
        if start > before:
            yield before, start, ""
        if stop > max(start, before):
            yield max(start, before), stop, text
        before = max(before, stop)
    if end > before:
        yield before, end, ""


def _clock(seconds: float) -> str:
    """Such as ``01:02:03.456``."""
    whole = round(1000 * seconds)
    return f"{whole // 3600000:02}:{whole // 60000 % 60:02}:{whole // 1000 % 60:02}.{whole % 1000:03}"
