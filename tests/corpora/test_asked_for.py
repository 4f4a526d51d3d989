"""Which recordings words of the command line name."""

from __future__ import annotations

from pathlib import Path

from parallel_ser.corpora.folder import all_asked_for


def made(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_word_that_names_nothing_takes_no_others(tmp_path: Path) -> None:
    made(tmp_path, "rec/a.wav", "rec/b.wav", "empty/notes.txt")
    words = [f"{tmp_path}/{word}" for word in ("empty", "rec/b.wav", "none-*.wav", "rec", "absent.wav")]
    asked = all_asked_for(words)
    # a plain name that is not there is said where it is opened
    assert [path.name for path in asked.files] == ["b.wav", "a.wav", "absent.wav"]
    assert [path.name for path in asked.problems] == ["empty", "none-*.wav"]
    empty, none = asked.problems.values()
    assert "holds no recordings" in empty
    assert "no file fits the pattern" in none
