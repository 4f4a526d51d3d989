"""The benchmark's page in headless Chromium: it sorts, shows its pictures, says nothing and fits a telephone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parallel_ser.bench.present import STEPS
from parallel_ser.report.bench import headings
from parallel_ser.report.bench_figures import speed_picture
from parallel_ser.report.bench_page import Page, page_row, text_row, write_page

SPEEDS = {"single": 80.0, "ddp": 120.5, "pipeline 1f1b": 99.0, "fsdp <&> x": 9.5}


def row(name: str, speed: float) -> dict[str, Any]:
    shares = {"compute": 0.7, "communication": 0.2, "bubble": 0.1, "imbalance": 0.0, "idle": 0.1}
    step = {"step_ms": 1e3 * 32 / speed, "step_low": 1.0, "step_high": 2.0, "utterances_s": speed}
    empty = dict.fromkeys(
        (
            "audio_s",
            "infer_s",
            "p50_ms",
            "p95_ms",
            "p99_ms",
            "memory_all_mib",
            "sent_mib",
            "joules",
            "uar",
            "limit",
            "of_peak",
            "predicted_idle",
        )
    )
    ratio = {"speedup": speed / 80.0, "speedup_interval": (speed / 81.0, speed / 79.0)}
    rest = {"ranks": 2, "threads": 1, "memory_mib": 100.0, "efficiency": None, "expected_bubble": None, "flags": []}
    return {**empty, **step, **shares, **ratio, **rest, "name": name, "reference": name == "single"}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    rows = [row(*one) for one in SPEEDS.items()]
    speed_picture(rows, "speeds", folder / "speed.png")
    page = Page("a page", "some data", STEPS, headings(rows), [page_row(one) for one in rows], ["ddp wins."])
    write_page(folder / "report.html", page, [(folder / "speed.png", "speeds")], {"cores": 2, "command": "x" * 300})
    return folder / "report.html"


def opened(browser: Any, path: Path, width: int) -> tuple[Any, list[str]]:
    page = browser.new_page(viewport={"width": width, "height": 800})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.extend([request.url] if request.url.startswith("http") else []))
    page.goto(path.as_uri())
    return page, said


def test_it_sorts_by_numbers_both_ways_and_says_nothing(browser: Any, page_file: Path) -> None:
    page, said = opened(browser, page_file, 1200)
    names = "[...document.querySelectorAll('tbody tr')].map(row => row.cells[0].innerText)"
    assert page.evaluate(names) == list(SPEEDS)
    head = page.get_by_role("button", name="utterances/s")
    head.click()
    assert page.evaluate(names) == sorted(SPEEDS, key=SPEEDS.__getitem__)
    head.click()
    assert page.evaluate(names) == sorted(SPEEDS, key=SPEEDS.__getitem__, reverse=True)
    assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 100)")
    assert page.evaluate("document.images.length") == 1
    assert not said


@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_but_the_table_is_wider_than_the_screen(browser: Any, page_file: Path, width: int) -> None:
    page, _ = opened(browser, page_file, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("parseFloat(getComputedStyle(document.querySelector('td')).fontSize)") >= 12


def test_printed_it_loses_no_column(browser: Any, page_file: Path) -> None:
    page, _ = opened(browser, page_file, 1000)
    page.emulate_media(media="print")
    assert page.evaluate("document.querySelector('.wide').scrollWidth <= document.documentElement.clientWidth")
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_a_page_of_texts_escapes_them(tmp_path: Path) -> None:
    page = Page("texts", "", "", [("0", "what"), ("1", "speed")], [text_row(("<b>", "12 (11 to 13)"))], [])
    write_page(tmp_path / "report.html", page, [], {})
    text = (tmp_path / "report.html").read_text()
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert 'data-value="12 (11 to 13)"' in text
