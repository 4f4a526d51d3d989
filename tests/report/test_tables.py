from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from parallel_ser.report.columns import short_names
from parallel_ser.report.tables import NOTICE, print_metrics


def printed(record: dict[str, Any], width: int = 80) -> str:
    out = io.StringIO()
    print_metrics(Console(file=out, width=width), record)
    return out.getvalue()


def words(text: str) -> str:
    return " ".join(text.split())


def test_all_of_a_result_is_said(record: dict[str, Any]) -> None:
    text = words(printed(record))
    for part in ("0.654 0.601 to 0.703", "0.125 (chance)", "0.133 (majority)", "macro F1 0.644", "+0.039"):
        assert part in text
    assert "95% bootstrap over 20 speakers" in text
    assert "mean 0.640" in text
    assert "± std 0.032" in text
    assert "female 60 0.701 0.691" in text
    assert "no test utterance of boredom" in text
    assert "Protocol speaker: No speaker is shared between training and test in 5 folds." in text
    assert words(NOTICE) in text
    assert "not a diagnosis" in NOTICE


def test_each_emotion_has_its_counts_and_its_precision_recall_and_f1(record: dict[str, Any]) -> None:
    lines = [line.split() for line in printed(record).splitlines()]
    for name, counts, result in zip(record["classes"], record["confusion"], record["per_class"]):
        figures = [f"{result[key]:.3f}" for key in ("precision", "recall", "f1")]
        assert [name, str(sum(counts)), *figures] in lines
        assert [name, *(str(count) if count else "·" for count in counts)] in lines


def test_speakers_are_sorted_and_all_there(record: dict[str, Any]) -> None:
    text = printed(record)
    assert all(group["name"] in text for group in record["per_speaker"])
    assert text.index("ravdess-20  0.400") < text.index("ravdess-03  0.425")


def test_many_speakers_are_cut_short_and_said_so(record: dict[str, Any]) -> None:
    record["per_speaker"] = [
        {"name": f"crema_d-{k:04d}", "n": 1, "classes": 1, "uar": k / 100, "wa": k / 100} for k in range(91)
    ]
    text = printed(record)
    assert text.count("crema_d-") == 48
    assert "43 more with a higher UAR are in metrics.json" in text


@pytest.mark.parametrize("width", [60, 80])
def test_nothing_is_wider_than_the_terminal_or_cut(record: dict[str, Any], width: int) -> None:
    record["confusion"][0][1] = 12345
    text = printed(record, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "12345" in text
    assert "(majority)" in text


def test_no_interval_no_audit_one_fold_absent_class(record: dict[str, Any]) -> None:
    record["uar"]["interval"] = record["wa"]["interval"] = record["audit"] = record["fold_uar_std"] = None
    record["interval_note"] = "none, as 2 speakers cannot stand for others (at least 5 are needed)"
    record["per_class"][2] = {"name": "happy", "support": 0, "precision": 0.0, "recall": None, "f1": 0.0}
    text = words(printed(record))
    assert "0.654 – 0.125" in text
    assert "none, as 2 speakers cannot" in text
    assert "not audited" in text
    assert "± std" not in text
    assert "happy 0 0.000 – 0.000" in text


def test_a_name_is_not_markup(record: dict[str, Any]) -> None:
    for place in (record["per_class"][0], record["per_speaker"][0], record["per_sex"][0]):
        place["name"] = "[red]x[/blue]"
    assert printed(record).count("[red]x[/blue]") == 3


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["anger", "sadness"], ["ang", "sad"]),
        (["surprise", "surfeit"], ["surp", "surf"]),
        (["happy", "happier", "happ"], ["happy", "happi", "happ"]),
        (["joy"], ["joy"]),
        (["a", "b"], ["a", "b"]),
    ],
)
def test_short_names_stay_apart(names: list[str], expected: list[str]) -> None:
    assert short_names(names) == expected
