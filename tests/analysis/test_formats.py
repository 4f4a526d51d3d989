"""What other programs read, read back by their formats' rules."""

from __future__ import annotations

import csv
import datetime
import io
import itertools
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from parallel_ser.analysis import formats


def segment(start: float, end: float, status: str, **more: Any) -> dict[str, Any]:
    heard = status in ("answered", "uncertain")
    row = {"happy": 0.7, "sad": 0.3} if heard else None
    plain = {
        "start": start,
        "end": end,
        "speech": end - start,
        "status": status,
        "emotion": "happy" if heard else "",
        "confidence": 0.7 if heard else 0.0,
        "reasons": ["noise"] if status == "rejected" else [],
        "probabilities": row,
        "smooth": row,
        "arousal": 0.25 if heard else None,
        "valence": -0.5 if heard else None,
        "novelty": None,
        "speaker": "=B&B<\x1b>" if status == "other" else "",
        "quality": {"snr_db": 20.0, "band_hz": 7000.0, "clipped": 0.0, "level_db": -30.0},
        "measures": {"speech_rate": 4.0} if heard else {},
    }
    return {**plain, **more}


@pytest.fixture
def record() -> dict[str, Any]:
    segments = [
        segment(1.0, 3.0, "answered"),
        segment(3.0, 4.5, "uncertain"),
        segment(3700.25, 3702.5, "rejected"),
        segment(3702.4, 3704.0, "other"),
    ]
    return {
        "file": 'a "b" <c>&.wav',
        "seconds": 3710.0,
        "classes": ["happy", "sad"],
        "measures": {"speech_rate": {}},
        "segments": segments,
    }


def test_rows_are_flat_and_no_cell_is_a_formula(record: dict[str, Any]) -> None:
    read = list(csv.DictReader(io.StringIO(formats.comma_separated(formats.rows(record)))))
    assert [row["status"] for row in read] == ["answered", "uncertain", "rejected", "other"]
    assert (float(read[0]["p.happy"]), float(read[0]["speech_rate"])) == (0.7, 4.0)
    assert read[2]["p.happy"] == read[2]["confidence"] == ""
    assert read[3]["speaker"].startswith("'=")


def test_parquet_holds_the_same(record: dict[str, Any], tmp_path: Any) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert formats.write_parquet(tmp_path / "a.parquet", formats.rows(record))
    assert parquet.read_table(tmp_path / "a.parquet").to_pylist() == formats.rows(record)


def test_captions_have_their_times_and_escape(record: dict[str, Any]) -> None:
    head, *cues = formats.webvtt(record).strip().split("\n\n")
    assert head == "WEBVTT"
    assert cues[0].splitlines() == ["00:00:01.000 --> 00:00:03.000", "happy 0.70"]
    assert cues[2].splitlines() == ["01:01:40.250 --> 01:01:42.500", "not recognised: noise"]
    assert cues[3].splitlines()[1] == "speaker =B&amp;B&lt;\\x1b&gt;"


def test_a_text_grid_covers_the_recording_without_overlap(record: dict[str, Any]) -> None:
    text = formats.text_grid(record)
    tiers = text.split("    item [")[1:]
    assert len(tiers) == 2
    for tier in tiers:
        times = [
            (float(a), float(b)) for a, b in re.findall(r"            xmin = (.*)\n            xmax = (.*)\n", tier)
        ]
        assert len(times) == int(re.search(r"intervals: size = (\d+)", tier)[1])  # type: ignore[index]
        assert (times[0][0], times[-1][1]) == (0.0, 3710.0)
        assert all(before[1] == after[0] for before, after in itertools.pairwise(times))
    assert 'text = "uncertain (happy 0.70)"' in text


def test_praat_reads_the_text_grid(record: dict[str, Any], tmp_path: Any) -> None:
    parselmouth = pytest.importorskip("parselmouth", reason="praat-parselmouth is not installed")
    (tmp_path / "a.TextGrid").write_text(formats.text_grid(record))
    grid = parselmouth.read(str(tmp_path / "a.TextGrid"))
    assert parselmouth.praat.call(grid, "Get label of interval", 1, 2) == "happy 0.70"


def test_elan_is_xml_whose_slots_are_there(record: dict[str, Any]) -> None:
    root = ET.fromstring(formats.elan(record, datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)))
    slots = {one.get("TIME_SLOT_ID"): int(one.get("TIME_VALUE", "")) for one in root.iter("TIME_SLOT")}
    own = list(root.iter("ALIGNABLE_ANNOTATION"))
    assert [slots[one.get("TIME_SLOT_REF1")] for one in own] == [1000, 3000, 3700250, 3702400]
    assert own[0].findtext("ANNOTATION_VALUE") == "happy 0.70"
    media = root.find("HEADER/MEDIA_DESCRIPTOR")
    assert media is not None
    assert media.get("MEDIA_URL") == './a "b" <c>&.wav'
