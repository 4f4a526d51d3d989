"""The report of a recording: parsed as HTML, and in headless Chromium where there is one."""

from __future__ import annotations

import base64
import copy
import io
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from parallel_ser.report.analysis_page import write_page

HOSTILE = '<img src=x onerror="alert(1)">&"\'</script>\x1b[31m.wav'
NAMES = ("speech_rate", "articulation_rate", "intensity", "f0_variability", "jitter", "f0_median")
EMPTY = {"value": 1.0, "low": 0.5, "high": 1.5}


def segment(place: int, status: str) -> dict[str, Any]:
    heard = status in ("answered", "uncertain")
    return {
        "start": 4.0 * place,
        "end": 4.0 * place + 3.0,
        "speech": 2.9,
        "status": status,
        "emotion": ("angry", "happy", "sad")[place % 3] if heard else "",
        "confidence": 0.8 if heard else 0.0,
        "reasons": ["noise"] if status == "rejected" else [],
        "arousal": 0.5 if heard else None,
        "valence": -0.5 if heard else None,
        "novelty": 0.7,
        "speaker": "",
        "quality": {"snr_db": 20.0, "band_hz": 7000.0, "clipped": 0.0, "level_db": -30.0},
    }


def a_record() -> dict[str, Any]:
    status = ["answered", "answered", "uncertain", "rejected", "other"] * 4
    titles = [
        {"name": name, "title": name, "unit": "u", "digits": 1, "what": f"What {name} is.", "compared": True}
        for name in NAMES
    ]
    titles[-1]["compared"] = False
    measures = {name: dict(EMPTY) for name in NAMES}
    session = {
        "task": "free",
        "speech": 60.0,
        "dimensions": {"arousal": dict(EMPTY)},
        "in_baseline": True,
        "compared": True,
    }
    sessions = [
        {**session, "date": f"2026-01-{day:02}", "file": HOSTILE, "measures": copy.deepcopy(measures), "this": day == 8}
        for day in (1, 2, 3, 5, 8)
    ]
    interval = (0.1, 0.5)
    return {
        "file": HOSTILE,
        "date": "2026-01-08",
        "task": HOSTILE,
        "seconds": 80.0,
        "run": HOSTILE,
        "classes": ["angry", "happy", "sad"],
        "settings": {"smooth": 5.0, "vad": "silero", "lenient": False},
        "threshold": {"confidence": 0.6, "error": 0.2},
        "totals": {"answered": 24.0, "uncertain": 12.0, "rejected": 12.0, "other": 12.0, "silent": 20.0},
        "rejected": {"noise": 12.0},
        "reasons": {"noise": "noisy"},
        "shares": [
            {"emotion": name, "raw": 1 / 3, "raw_interval": interval, "corrected": 0.3, "corrected_interval": interval}
            for name in ("sad", "happy", "angry")
        ],
        "dimensions": {"arousal": dict(EMPTY), "valence": dict(EMPTY)},
        "mapping": {"angry": [1, -1], "happy": [1, 1], "sad": [-1, -1]},
        "measures": measures,
        "measure_titles": titles,
        "speech": 50.0,
        "notes": [HOSTILE],
        "segments": [segment(place, one) for place, one in enumerate(status)],
        "series": {
            "person": HOSTILE,
            "baseline": 5,
            "least_speech": 30.0,
            "ready": 5,
            "bands": {name: {"mean": 5.0, "low": 4.0, "high": 6.0} for name in NAMES},
            "sessions": sessions,
        },
    }


def clip() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.sin(np.arange(16000) / 5.0), 16000, format="FLAC")
    return file.getvalue()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    record = a_record()
    clips = {place: clip() for place, one in enumerate(record["segments"]) if one["status"] != "other"}
    write_page(path, record, np.random.default_rng(0).integers(0, 255, 2500, dtype=np.uint8), clips, "audio/flac")
    return path


class Parsed(HTMLParser):
    """Tags, their attributes, headings, and the text of each table row."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.headings: list[str] = []
        self.rows: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)
        if tag in ("h1", "h2"):
            self.headings.append("")
        if tag == "tr":
            self.rows.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings[-1] += data
        if "tr" in self.open:
            self.rows[-1] += data


@pytest.fixture(scope="module")
def parsed(page_file: Path) -> Parsed:
    return Parsed(page_file.read_text())


def test_every_tag_is_closed_and_limits_come_first(parsed: Parsed) -> None:
    assert parsed.open == []
    assert parsed.headings[1:5] == [
        "What this can and cannot say",
        "What was analysed, and what was not",
        "Emotions heard",
        "Arousal and valence",
    ]


def test_nothing_is_fetched_from_anywhere(parsed: Parsed, page_file: Path) -> None:
    text = page_file.read_text()
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    for tag, attributes in parsed.tags:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base", "form")
        assert not {"href", "src", "srcset", "action"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
    policies = [one["content"] for _, one in parsed.tags if one.get("http-equiv") == "Content-Security-Policy"]
    assert len(policies) == 1
    assert "default-src 'none'" in policies[0]


def test_names_are_escaped(page_file: Path) -> None:
    text = page_file.read_text()
    assert "<img" not in text
    assert "\x1b[31m" not in text.split("</h1>")[0]
    assert text.count("</script>") == 2  # the clips' and ours


def test_measures_stand_in_their_order_and_are_compared_with_the_person_alone(parsed: Parsed) -> None:
    own = [row for row in parsed.rows if "What " in row and " is." in row]
    assert [next(name for name in NAMES if f"What {name} is." in row) for row in own] == list(NAMES)
    assert all("below the band" in row and "5.0 (4.0 to 6.0)" in row for row in own[:-1])
    assert "band" not in own[-1]


def test_arousal_comes_before_valence_and_no_share_is_ranked(page_file: Path) -> None:
    text = page_file.read_text()
    assert text.index("Arousal: ") < text.index("Valence: ")
    assert text.index("<td>happy") < text.index("<td>angry") < text.index("<td>sad")


def test_no_word_reads_as_a_diagnosis_or_a_rating(page_file: Path) -> None:
    text = page_file.read_text().lower()
    assert "it is no diagnosis" in text
    for word in ("biomarker", "disorder", "patient", "abnormal", "depression score", "risk"):
        assert word not in text


def test_every_segment_has_a_name_and_can_be_reached(parsed: Parsed) -> None:
    boxes = [one for tag, one in parsed.tags if tag == "button" and "seg" in one.get("class", "")]
    labels = [one["aria-label"] for one in boxes]
    assert len({one["data-place"] for one in boxes}) == 20
    assert labels[0] == "0:00 to 0:03: angry, confidence 0.80"
    assert any("uncertain, perhaps sad" in one for one in labels)
    assert any("rejected: noisy" in one for one in labels)


def test_the_sound_is_in_the_page(page_file: Path) -> None:
    text = page_file.read_text()
    start = text.index('id="clips">') + len('id="clips">')
    clips = json.loads(text[start : text.index("</script>", start)])
    assert len(clips) == 16
    assert base64.b64decode(clips["0"]) == clip()


def test_a_recording_without_speech_has_a_page(tmp_path: Path) -> None:
    record = a_record()
    record.update(segments=[], shares=[], dimensions={}, measures={}, series=None, rejected={})
    write_page(tmp_path / "report.html", record, np.zeros(0, np.uint8), {}, "audio/flac")
    assert "No segment was recognised" in (tmp_path / "report.html").read_text()


def opened(browser: Any, path: Path, width: int, scheme: str = "light") -> tuple[Any, list[str]]:
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: said.extend([request.url] if request.url.startswith("http") else []))
    page.goto(path.as_uri())
    return page, said


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_but_tables_and_the_timeline_is_wider_than_the_screen(
    browser: Any, page_file: Path, width: int
) -> None:
    page, said = opened(browser, page_file, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []


def test_a_segment_plays_by_mouse_and_by_keyboard(browser: Any, page_file: Path) -> None:
    page, said = opened(browser, page_file, 1200)
    page.locator(".seg").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.wait_for_function("player.readyState > 0")
    assert page.evaluate("player.duration") == pytest.approx(1.0, abs=0.01)
    assert page.evaluate("told.value") == "0:04 to 0:07: happy, confidence 0.80"
    assert page.evaluate("document.querySelectorAll('.seg[tabindex=\"0\"]').length") == 1
    page.locator(".seg.other").first.click()
    assert page.evaluate("player.getAttribute('src')") is None
    assert said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(browser: Any, page_file: Path, scheme: str) -> None:
    page, _ = opened(browser, page_file, 1200, scheme)
    contrasts = page.evaluate("""() => {
      const linear = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
      const bright = colour => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map(part => linear(Number(part) / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const behind = one => {
        for (; one; one = one.parentElement) {
          const colour = getComputedStyle(one).backgroundColor;
          if (!/^rgba.*, 0\\)$/.test(colour)) return colour;
        }
      };
      const texts = "p, li, td, th, h1, h2, h3, dd, dt, .seg.answered, .seg.uncertain";
      return [...document.querySelectorAll(texts)].map(one => {
        const [a, b] = [bright(getComputedStyle(one).color), bright(behind(one))].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05);
      });
    }""")
    assert min(contrasts) >= 4.5  # WCAG 2.2, level AA


def test_printed_it_fits_a_page(browser: Any, page_file: Path) -> None:
    page, _ = opened(browser, page_file, 718)  # A4 less its margins
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 718
    assert page.evaluate("getComputedStyle(document.querySelector('.now')).display") == "none"
    assert page.pdf(format="A4").startswith(b"%PDF")
