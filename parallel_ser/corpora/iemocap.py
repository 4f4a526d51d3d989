"""IEMOCAP: 5 sessions of two actors each, scripted and improvised dialogues (Busso et al. 2008, LREC 42(4))."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from parallel_ser.corpora.base import Corpus, NoCorpusError, Problem, Utterance
from parallel_ser.corpora.folder import audio_files, existing_folder, missing_speakers
from parallel_ser.corpora.labels import present
from parallel_ser.errors import UserError
from parallel_ser.system.files import plain

CLASSES = (
    "neutral", "happy", "excited", "angry", "sad", "frustrated", "fearful", "surprised", "disgust", "other",
)  # fmt: skip

_CODES = dict(zip(("neu", "hap", "exc", "ang", "sad", "fru", "fea", "sur", "dis", "oth"), CLASSES, strict=True))
_TURN = re.compile(r"(Ses0([1-5])[FM]_(impro|script)\w*)_([FM])(?:\d+|XX\d+)")
_LABEL = re.compile(
    r"\[\s*(?P<start>[\d.]+)\s*-\s*(?P<end>[\d.]+)\s*\]\s+(?P<turn>\S+)\s+(?P<code>\w+)\s+"
    r"\[\s*(?P<valence>[\d.]+)\s*,\s*(?P<arousal>[\d.]+)\s*,\s*(?P<dominance>[\d.]+)\s*\]"
)
_TRANSCRIPT = re.compile(r"(\S+) \[[\d.\s-]+\]:\s*(.*)")
_EXPECTED = "Session1/dialog/EmoEvaluation/*.txt and Session1/sentences/wav/*/*.wav"
# Seen from the release's own folder and from the one above it.
_LAYOUTS = ("Session[1-5]", "*/Session[1-5]")


def read(root: Path) -> Corpus:
    """Read the turns that have a majority label; ``xxx`` (no agreement) and unlabelled turns are left out.

    The dialogue partners of a session belong together, so that the corpus is split by session.

    A speaker is a session's woman or man (``iemocap-1F``). ``text`` is the transcript. ``fields``: session (1 to 5),
    dialog, style (scripted, improvised), and the mean ratings valence, arousal and dominance (1 to 5). A labelled turn
    without its recording is a ``missing`` problem, a recording in another dialogue's folder ``misplaced``.

    Raises:
        UserError: no such folder, no labels in it, or none of the labelled recordings.
    """
    root = existing_folder(root, "iemocap", _EXPECTED)
    sessions = _sessions(root)
    if not sessions:
        raise NoCorpusError(f"iemocap: no labels found in {root}; expected {_EXPECTED}.")
    items = [item for session in sessions for item in _read_session(session)]
    utterances = tuple(item for item in items if isinstance(item, Utterance))
    problems = tuple(item for item in items if isinstance(item, Problem))
    if not utterances:
        raise UserError(f"iemocap: none of the labelled recordings is in {root}; expected {_EXPECTED}.")
    speakers = (f"iemocap-{session}{sex}" for session in range(1, 6) for sex in "FM")
    unlabelled = sum(item is None for item in items)
    notes = missing_speakers("iemocap", speakers, utterances)
    if unlabelled:
        notes = (f"left out of iemocap: turns without a majority label ({unlabelled:,})", *notes)
    return Corpus("iemocap", utterances, present(CLASSES, (u.emotion for u in utterances)), problems, notes, "session")


def _sessions(root: Path) -> list[Path]:
    for layout in _LAYOUTS:
        found = sorted(session for session in root.glob(layout) if _texts(session, "EmoEvaluation"))
        if found:
            return found
    return [root] if _texts(root, "EmoEvaluation") else []  # one session's own folder


def _texts(session: Path, kind: str) -> list[Path]:
    # Only the folder's own files: below EmoEvaluation lie each rater's, in another format.
    return sorted(path for path in session.glob(f"dialog/{kind}/*.txt") if not path.name.startswith("."))


def _read_session(session: Path) -> Iterator[Utterance | Problem | None]:
    """What the labels say of each turn; None for one without a majority label."""
    recordings: dict[str, list[Path]] = {}
    for path in audio_files(session / "sentences" / "wav"):
        recordings.setdefault(path.stem, []).append(path)
        if _TURN.fullmatch(path.stem) is None:
            yield Problem(path, "unparsable name", "expected a turn such as Ses01F_impro01_F000")
    transcripts = {
        match[1]: match[2].strip()
        for path in _texts(session, "transcriptions")
        for match in map(_TRANSCRIPT.match, _lines(path))
        if match
    }
    for labels in _texts(session, "EmoEvaluation"):
        for line in map(_LABEL.match, _lines(labels)):
            if line and line["code"] not in _CODES:
                yield None
            elif line:
                yield from _turn(session, labels, line, recordings, transcripts)


def _turn(
    session: Path,
    labels: Path,
    line: re.Match[str],
    recordings: dict[str, list[Path]],
    transcripts: dict[str, str],
) -> Iterator[Utterance | Problem]:
    turn = line["turn"]
    match = _TURN.fullmatch(turn)
    if match is None:
        yield Problem(labels, "unparsable name", f"the turn '{turn}' is not named like Ses01F_impro01_F000")
        return
    dialog, number, style, sex = match.groups()
    right = session / "sentences" / "wav" / dialog
    copies = sorted(recordings.get(turn, ()), key=lambda path: path.parent != right)
    if not copies:
        yield Problem(right / f"{turn}.wav", "missing", f"labelled in {labels.name}, but there is no recording")
        return
    for path in copies:
        if path.parent != right:
            yield Problem(path, "misplaced", f"a turn of the dialogue {dialog} in the folder {path.parent.name}")
        elif path != copies[0]:
            yield Problem(path, "duplicate", f"same name as {copies[0].name}, which is read")
    yield Utterance(
        path=copies[0],
        corpus="iemocap",
        speaker=f"iemocap-{number}{sex}",
        sex="female" if sex == "F" else "male",
        emotion=_CODES[line["code"]],
        text=transcripts.get(turn, ""),
        duration=round(float(line["end"]) - float(line["start"]), 4),
        fields={
            "session": number,
            "dialog": dialog,
            "style": "improvised" if style == "impro" else "scripted",
            "valence": line["valence"],
            "arousal": line["arousal"],
            "dominance": line["dominance"],
        },
    )


def _lines(path: Path) -> list[str]:
    try:
        return plain(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"iemocap: cannot read {path}: {error.strerror}.") from error
