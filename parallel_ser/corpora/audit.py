"""What the sides of a split have in common: speakers, sentences, recordings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict

from parallel_ser.corpora.base import Utterance
from parallel_ser.corpora.protocols import SESSION, Fold, session_of

#: How many names of shared speakers, sentences or recordings an audit keeps.
NAMES = 12


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Overlap(_Frozen):
    """Speakers, sentences or recordings that two sides share.

    ``shared`` of the ``total`` distinct ones on the held-out side are also on the other side; ``names`` are the first
    of them; ``unknown`` utterances of either side do not say (no text).
    """

    shared: int
    total: int
    names: tuple[str, ...] = ()
    unknown: int = 0


class Between(_Frozen):
    """What a held-out side shares with the side that is learnt from.

    ``copies``: altered copies too, see ``copies``. ``sessions``: of corpora that have them, in which somebody who is
    learnt from may be the dialogue partner of somebody who is held out.
    """

    speakers: Overlap
    texts: Overlap
    audio: Overlap
    copies: Overlap = Overlap(shared=0, total=0)
    sessions: Overlap = Overlap(shared=0, total=0)


class Audit(_Frozen):
    """The audit of one fold.

    ``test``: test against train and select together. ``selection``: select against train. ``speakers`` names those of
    each side, ``utterances`` and ``classes`` count it; ``left_out`` counts, by class, what is on no side.
    """

    protocol: str
    fold: int
    selection_by: str
    speakers: dict[str, tuple[str, ...]] = {}
    utterances: dict[str, int]
    classes: dict[str, dict[str, int]]
    left_out: dict[str, int]
    test: Between
    selection: Between

    def verdict(self) -> str:
        """One sentence on training and test, such as 'No speaker, 2 of 2 sentences and no audio are shared …'."""
        return _verdict(self.test, "training and test", "", figure=True)

    def selection_verdict(self) -> str:
        """The same for the split that the best epoch is picked on."""
        return _verdict(self.selection, f"training and selection (held out by {self.selection_by})", "")


class Summary(_Frozen):
    """The audits of a protocol's folds; each overlap is that of the worst fold.

    ``tested`` is the number of utterances tested over all folds; ``left_out`` counts, by class, what is on no side of
    the fold that leaves out most.
    """

    protocol: str
    folds: tuple[int, ...]
    selection_by: tuple[str, ...]
    tested: int
    left_out: dict[str, int]
    test: Between
    selection: Between

    def verdict(self) -> str:
        """One sentence that holds for every fold."""
        sentence = _verdict(self.test, f"training and test in {_folds(self)}", "at most ", figure=True)
        return sentence.removesuffix(".") + _left_out(self) + "."

    def selection_verdict(self) -> str:
        """The same for the split that the best epoch is picked on."""
        by = " or ".join(self.selection_by)
        return _verdict(self.selection, f"training and selection (held out by {by}) in {_folds(self)}", "at most ")


def audit(utterances: Sequence[Utterance], fold: Fold, audio_ids: Sequence[str], copies: Sequence[str] = ()) -> Audit:
    """Compare the sides of a fold.

    Args:
        utterances: what the fold's indices count through.
        fold: the split.
        audio_ids: for each utterance an identifier of its audio, such as a hash of the file; equal audio, equal
            identifier. An empty one is unknown.
        copies: the same, also equal for altered copies; ``audio_ids`` where it is empty.
    """
    copies = copies or audio_ids
    if len(utterances) != len(audio_ids):
        raise ValueError(f"{len(utterances)} utterances and {len(audio_ids)} audio identifiers")
    sides = {"train": fold.train, "select": fold.select, "test": fold.test}
    used = set(fold.train) | set(fold.select) | set(fold.test)
    return Audit(
        protocol=fold.protocol,
        fold=fold.index,
        selection_by=fold.selection_by,
        speakers={side: tuple(sorted({utterances[i].speaker for i in own})) for side, own in sides.items()},
        utterances={side: len(indices) for side, indices in sides.items()},
        classes={side: _counts(utterances, indices) for side, indices in sides.items()},
        left_out=_counts(utterances, (i for i in range(len(utterances)) if i not in used)),
        test=_between(utterances, audio_ids, copies, fold.test, (*fold.train, *fold.select)),
        selection=_between(utterances, audio_ids, copies, fold.select, fold.train),
    )


def combine(audits: Sequence[Audit]) -> Summary:
    """One summary of the audits of a protocol's folds; ``audits`` must not be empty."""
    return Summary(
        protocol=audits[0].protocol,
        folds=tuple(one.fold for one in audits),
        selection_by=tuple(dict.fromkeys(one.selection_by for one in audits)),
        tested=sum(one.utterances["test"] for one in audits),
        left_out=max((one.left_out for one in audits), key=lambda counts: sum(counts.values())),
        test=_worst([one.test for one in audits]),
        selection=_worst([one.selection for one in audits]),
    )


def _counts(utterances: Sequence[Utterance], indices: Iterable[int]) -> dict[str, int]:
    return dict(sorted(Counter(utterances[i].emotion for i in indices).items()))


def _between(
    utterances: Sequence[Utterance],
    audio_ids: Sequence[str],
    copies: Sequence[str],
    held: Sequence[int],
    learnt: Sequence[int],
) -> Between:
    speakers = [u.speaker for u in utterances]
    texts = [u.text for u in utterances]
    sessions = [session_of(u) if u.fields.get(SESSION) else "" for u in utterances]

    def recordings(names: Sequence[str]) -> Overlap:
        files: dict[str, list[str]] = {}
        for index in (*held, *learnt):
            files.setdefault(names[index], []).append("/".join(utterances[index].path.parts[-2:]))
        overlap = _overlap(names, held, learnt)
        return overlap.model_copy(update={"names": tuple(" = ".join(files[name]) for name in overlap.names)})

    return Between(
        speakers=_overlap(speakers, held, learnt),
        texts=_overlap(texts, held, learnt),
        audio=recordings(audio_ids),
        copies=recordings(copies),
        sessions=_overlap(sessions, held, learnt),
    )


def _overlap(names: Sequence[str], held: Sequence[int], learnt: Sequence[int]) -> Overlap:
    total = {names[i] for i in held} - {""}
    shared = sorted(total & {names[i] for i in learnt})
    unknown = sum(not names[i] for i in (*held, *learnt))
    return Overlap(shared=len(shared), total=len(total), names=tuple(shared[:NAMES]), unknown=unknown)


def _worst(of: Sequence[Between]) -> Between:
    def worst(overlaps: Sequence[Overlap]) -> Overlap:
        largest = max(overlaps, key=lambda o: (o.shared / max(o.total, 1), o.shared))
        return largest.model_copy(update={"unknown": max(o.unknown for o in overlaps)})

    return Between(
        speakers=worst([one.speakers for one in of]),
        texts=worst([one.texts for one in of]),
        audio=worst([one.audio for one in of]),
        copies=worst([one.copies for one in of]),
        sessions=worst([one.sessions for one in of]),
    )


def _folds(summary: Summary) -> str:
    return f"{len(summary.folds)} fold{'s' * (len(summary.folds) > 1)}"


def _left_out(summary: Summary) -> str:
    """The last clause of a verdict: how many are left out, and why where the protocol tells; empty for none."""
    total = sum(summary.left_out.values())
    if not total:
        return ""
    utterances, are, have = ("utterance", "is", "has") if total == 1 else ("utterances", "are", "have")
    if summary.protocol != "cross-corpus":
        return f"; at most {total} {utterances} of a fold {are} on no side of it"
    emotions = list(summary.left_out)
    counts = ", ".join(f"{count} of {emotion}" for emotion, count in summary.left_out.items())
    which = f"of {emotions[0]}" if len(emotions) == 1 else f"({counts})"
    return f"; {total} {utterances} {which} {have} no counterpart in training and {are} left out"


def _verdict(between: Between, sides: str, limit: str, figure: bool = False) -> str:
    """The sentence on two sides; ``figure`` where a published figure comes from the held-out one."""

    def amount(overlap: Overlap, one: str, many: str) -> str:
        count = f"{limit}{overlap.shared} of {overlap.total} {many}" if overlap.shared else f"no {one}"
        if not overlap.unknown:
            return count
        count = count if overlap.shared else f"no known {one}"
        return f"{count} (not known of {overlap.unknown} utterance{'s' * (overlap.unknown != 1)})"

    parts = (
        amount(between.speakers, "speaker", "speakers"),
        amount(between.texts, "sentence", "sentences"),
        amount(between.audio, "audio", "recordings"),
    )
    text = f"{parts[0]}, {parts[1]} and {parts[2]} are shared between {sides}"
    if figure and between.speakers.shared:
        text += ": SPEAKERS ARE ON BOTH SIDES, so this figure says nothing about new speakers"
    if between.sessions.shared:
        text += f"; {limit}{between.sessions.shared} of {between.sessions.total} sessions are, with dialogue partners"
    if between.audio.shared:
        text += "; THE SAME RECORDING IS ON BOTH SIDES"
    if between.copies.shared > between.audio.shared:
        altered = f"{limit}{between.copies.shared} of {between.copies.total}"
        text += f"; ALTERED COPIES (GAIN, NOISE, CODING) OF {altered.upper()} RECORDINGS ARE ON BOTH SIDES"
    return text[0].upper() + text[1:] + "."
