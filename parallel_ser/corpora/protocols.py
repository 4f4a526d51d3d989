"""Splits with a name: which utterances train, select and test.

One rule makes every split that is not given. A protocol names one or two **units** (speaker, session, text, or the
utterance itself); the units are dealt into groups; a fold holds one group of each unit out:

    test  = utterances in the held group of every unit
    train = utterances outside the held group of every unit

With two units (``speaker+text``) the folds are the grid of speaker groups × sentence groups, so that every utterance is
tested once, while training knows neither the speaker nor the sentence that is tested. What has only one of the two in
common with the test side is on no side in that fold:

                      sentences held   other sentences
    speakers held     test             left out
    other speakers    left out         train and select

The selection split (for early stopping and tuning) cuts the training side by the same rule and the same units.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from parallel_ser.corpora.base import Corpus, Utterance
from parallel_ser.corpora.given import given
from parallel_ser.corpora.settings import ProtocolName, SplitSettings
from parallel_ser.errors import UserError

#: Test actors of RAVDESS. emobox6: Ma et al. 2024, 'EmoBox', Interspeech; luna5: Luna-Jiménez et al. 2021,
#: 'Multimodal emotion recognition on RAVDESS dataset using transfer learning', Sensors 21(22): 7665.
PUBLISHED: Mapping[str, tuple[tuple[int, ...], ...]] = {
    "emobox6": ((1, 11, 20, 21), (4, 10, 12, 14), (8, 9, 19, 23), (3, 5, 7, 24), (2, 15, 16, 18), (6, 13, 17, 22)),
    "luna5": ((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22)),
}

#: The field that numbers a corpus's sessions.
SESSION = "session"

#: How the selection split is cut: the first way that leaves both sides something, and training every class.
_SELECTION: Mapping[str, tuple[ProtocolName, ...]] = {
    "random": ("random",),
    "session": ("session", "speaker", "text", "random"),
    "text": ("text", "speaker", "random"),
    "speaker+text": ("speaker+text", "speaker", "text", "random"),
}
_BY_SPEAKER: tuple[ProtocolName, ...] = ("speaker", "text", "random")


def ways_inside(protocol: str) -> tuple[ProtocolName, ...]:
    """How a training side is cut again under a protocol: the first way that works is taken."""
    return _SELECTION.get(protocol, _BY_SPEAKER)


@dataclass(frozen=True)
class Fold:
    """One split; the numbers are indices into the corpus's utterances.

    Attributes:
        index: the fold's number in its protocol; it keeps its number when other folds are dropped or not asked for.
        train, select, test: the sides; what is on none of them is left out of this fold.
        protocol: its name.
        selection_by: what the selection split holds out: ``speaker``, ``session``, ``text``, ``speaker+text`` or
            ``random``; ``given`` where it is. It differs from the protocol's own unit where the training side has too
            few of these.
        of: how many folds the protocol has here, those that are not asked for among them; 0 is not known.
    """

    index: int
    train: tuple[int, ...]
    select: tuple[int, ...]
    test: tuple[int, ...]
    protocol: str = "given"
    selection_by: str = "given"
    of: int = 0


def folds(corpus: Corpus, settings: SplitSettings, test_corpus: Corpus | None = None) -> list[Fold]:
    """The folds of a protocol, in order; the same for the same corpus, settings and seed.

    - ``random``: k folds stratified by emotion. Speakers are on both sides: it says nothing about new speakers.
    - ``speaker``: k folds of speakers, balanced by sex.
    - ``session``: k folds of sessions, in their order, so that nobody is tested whose dialogue partner is trained on.
    - ``auto``: the corpus's own: session for IEMOCAP, else speaker.
    - ``text``: k folds of sentences.
    - ``speaker+text``: k groups of speakers × min(k, sentences) groups of sentences, one fold a pair; a pair without
      utterances is dropped.
    - ``given``: the sides that a field or a file has, see ``given``; a selection side that it lacks is held out of
      training by speaker.
    - ``emobox6``, ``luna5``: published folds of RAVDESS by test actor. Where actors are missing, the rest of the set is
      used; a set with no actor is dropped and the others keep their numbers.
    - ``cross-corpus``: one fold. Indices count through ``corpus.utterances + test_corpus.utterances``; the whole test
      corpus is tested, except utterances of a class that training does not have, which no answer could get right: they
      are left out, and the audit counts them. Both corpora need the same names of emotions (``labels.align``).

    ``settings.folds=0`` leaves one unit (speaker, session, sentence, utterance) out at a time.

    The selection split holds out ``settings.selection`` of the training side's units (of each of the two for
    ``speaker+text``), at least one and never all, balanced by sex or emotion. Where the training side has one unit only
    (one actress of TESS, one sentence of RAVDESS) or where training would lose a class, the next way is taken: by
    speaker, by text, at random; ``Fold.selection_by`` says which.

    Raises:
        UserError: too few speakers or sentences for the folds, texts or sessions unknown, a fold asked for that does
            not exist, a class that some fold cannot train on, a published protocol on another corpus, no class in
            common, a given split that cannot be taken.
    """
    utterances = corpus.utterances
    if not utterances:
        raise UserError(f"corpus {corpus.name} has no utterances to split; check corpus.root and corpus.labels.")
    protocol = corpus.protocol if settings.protocol == "auto" else settings.protocol
    settings = settings.model_copy(update={"protocol": protocol})
    selection: dict[int, list[int]] = {}
    if protocol == "given":
        sides = given(corpus, settings)
        splits = {index: (train, test) for index, (train, _, test) in sides.items()}
        selection = {index: select for index, (_, select, _) in sides.items() if select}
    elif protocol == "cross-corpus":
        if test_corpus is None:
            raise ValueError("cross-corpus needs test_corpus")
        splits = _cross_corpus(corpus, test_corpus)
        utterances = utterances + test_corpus.utterances
    else:
        held = _published(corpus, settings) if protocol in PUBLISHED else _grid(corpus, settings)
        everything = range(len(utterances))
        splits = {index: _cut(utterances, everything, groups) for index, groups in enumerate(held)}
        splits = {index: split for index, split in splits.items() if split[1]}
    _require_classes(corpus, settings, {index: split[0] for index, split in splits.items()})
    wanted = _wanted(settings, list(splits))
    made = []
    for index in wanted:
        train, test = splits[index]
        if index in selection:
            made.append(Fold(index, tuple(train), tuple(selection[index]), tuple(test), protocol, "given"))
        else:
            made.append(_fold(utterances, settings, index, train, test))
    return [replace(one, of=len(splits)) for one in made]


# --- the one rule -----------------------------------------------------------------------------------------------------

Held = dict[str, set[Hashable]]  # for each unit of the protocol, those held out


def session_of(utterance: Utterance) -> str:
    """The session that an utterance is of; in a corpus that has none, each speaker is one."""
    session = utterance.fields.get(SESSION)
    return f"{utterance.corpus} {session}" if session else utterance.speaker


def _key(utterances: Sequence[Utterance], index: int, unit: str) -> Hashable:
    if unit == "random":
        return index
    utterance = utterances[index]
    if unit == "session":
        return session_of(utterance)
    return utterance.speaker if unit == "speaker" else utterance.text


def _cut(utterances: Sequence[Utterance], indices: Iterable[int], held: Held) -> tuple[list[int], list[int]]:
    """Utterances outside the held groups of every unit, and those inside the held groups of every unit."""
    kept, out = [], []
    for index in indices:
        inside = [_key(utterances, index, unit) in group for unit, group in held.items()]
        if all(inside):
            out.append(index)
        elif not any(inside):
            kept.append(index)
    return kept, out


def _units(
    utterances: Sequence[Utterance], indices: Iterable[int], unit: str, rng: np.random.Generator
) -> list[Hashable]:
    """The units in random order (sessions in their own) inside their stratum, strata one after the other.

    The stratum is a speaker's sex, or an utterance's emotion. Any evenly spaced choice from this list holds every
    stratum in proportion, up to one unit.
    """
    strata: dict[str, set[Hashable]] = {}
    seen: set[Hashable] = set()
    for index in indices:
        key = _key(utterances, index, unit)
        if key not in seen:
            seen.add(key)
            utterance = utterances[index]
            stratum = {"speaker": utterance.sex, "random": utterance.emotion}.get(unit, "")
            strata.setdefault(stratum, set()).add(key)
    shuffled: list[Hashable] = []
    for stratum in sorted(strata):
        ordered = sorted(strata[stratum])  # type: ignore[type-var]  # all texts or all numbers
        if unit == "session":  # fold 0 of IEMOCAP tests session 1
            shuffled += ordered
            continue
        shuffled += [ordered[position] for position in rng.permutation(len(ordered))]
    return shuffled


# --- which units are held out -----------------------------------------------------------------------------------------


def _grid(corpus: Corpus, settings: SplitSettings) -> list[Held]:
    """The held groups of each fold of ``random``, ``speaker``, ``text`` and ``speaker+text``."""
    names = settings.protocol.split("+")
    axes: list[list[set[Hashable]]] = []
    for number, unit in enumerate(names):
        if unit == "text":
            _require_texts(corpus, settings)
        if unit == "session":
            _require_sessions(corpus)
        rng = np.random.default_rng([settings.seed, 0, number])
        units = _units(corpus.utterances, range(len(corpus.utterances)), unit, rng)
        count = settings.folds or len(units)
        if axes:  # the second axis follows the first as far as it can
            count = min(len(axes[0]), len(units))
        if len(units) < 2 or count > len(units):
            raise UserError(_too_few(corpus, settings, unit, len(units)))
        axes.append([set(units[start::count]) for start in range(count)])
    return [dict(zip(names, groups, strict=True)) for groups in product(*axes)]


def _published(corpus: Corpus, settings: SplitSettings) -> list[Held]:
    if corpus.name != "ravdess":
        raise UserError(
            f"split.protocol={settings.protocol} is published for RAVDESS alone, and the corpus is {corpus.name}; "
            "use split.protocol=speaker."
        )
    return [{"speaker": {f"ravdess-{actor:02d}" for actor in actors}} for actors in PUBLISHED[settings.protocol]]


def _cross_corpus(corpus: Corpus, test_corpus: Corpus) -> dict[int, tuple[list[int], list[int]]]:
    if {u.path for u in corpus.utterances} & {u.path for u in test_corpus.utterances}:
        raise UserError(
            f"the corpus to test on has recordings of {corpus.name} that are also trained on; name another corpus, or "
            "use split.protocol=speaker inside one corpus."
        )
    known = {u.emotion for u in corpus.utterances}
    start = len(corpus.utterances)
    test = [start + i for i, u in enumerate(test_corpus.utterances) if u.emotion in known]
    if not test:
        theirs = ", ".join(sorted({u.emotion for u in test_corpus.utterances})) or "none"
        raise UserError(
            f"{corpus.name} ({', '.join(sorted(known))}) and {test_corpus.name} ({theirs}) have no emotion in common; "
            "test on another corpus."
        )
    return {0: (list(range(start)), test)}


# --- the selection split ----------------------------------------------------------------------------------------------


def _fold(
    utterances: Sequence[Utterance], settings: SplitSettings, index: int, training: list[int], test: list[int]
) -> Fold:
    rng = np.random.default_rng([settings.seed, 1, index])
    for way in ways_inside(settings.protocol):
        names = way.split("+")
        if "text" in names and not all(utterances[i].text for i in training):
            continue
        units = [_units(utterances, training, unit, rng) for unit in names]
        if min(map(len, units)) < 2:
            continue
        counts = [min(max(1, round(settings.selection * len(of))), len(of) - 1) for of in units]
        starts = [int(rng.integers(len(of))) for of in units]
        turns = max(-(-len(of) // count) for of, count in zip(units, counts, strict=True))
        for turn in range(turns):  # every unit gets a chance to be held out before the way is given up
            held = {
                name: {of[(start + turn + j * len(of) // count) % len(of)] for j in range(count)}
                for name, of, count, start in zip(names, units, counts, starts, strict=True)
            }
            train, select = _cut(utterances, training, held)
            if select and _classes(utterances, train) == _classes(utterances, training):
                return Fold(index, tuple(train), tuple(select), tuple(test), settings.protocol, way)
    raise UserError(
        f"fold {index} of split.protocol={settings.protocol} has {len(training)} utterances to train on, too few to "
        f"hold split.selection={settings.selection} of them out and still train every class; use a smaller "
        "split.selection or a larger corpus."
    )


# --- what is asked for must exist -------------------------------------------------------------------------------------


def _classes(utterances: Sequence[Utterance], indices: Iterable[int]) -> set[str]:
    return {utterances[i].emotion for i in indices}


def _require_texts(corpus: Corpus, settings: SplitSettings) -> None:
    unknown = sum(not u.text for u in corpus.utterances)
    if unknown:
        raise UserError(
            f"split.protocol={settings.protocol} needs the text of every utterance, and {unknown} of "
            f"{len(corpus.utterances)} of corpus {corpus.name} have none; use split.protocol=speaker."
        )


def _require_sessions(corpus: Corpus) -> None:
    """Every utterance of at least one corpus must say of which session it is, and none of that corpus may not."""
    known = {u.corpus for u in corpus.utterances if u.fields.get(SESSION)}
    unknown = sum(not u.fields.get(SESSION) for u in corpus.utterances if u.corpus in known or not known)
    if unknown:
        raise UserError(
            f"split.protocol=session needs the field {SESSION} of every utterance, and {unknown} of "
            f"{len(corpus.utterances)} of corpus {corpus.name} have none; use split.protocol=speaker."
        )


def _too_few(corpus: Corpus, settings: SplitSettings, unit: str, have: int) -> str:
    name = {"speaker": "speaker", "session": "session", "text": "sentence", "random": "utterance"}[unit]
    if have >= 2:
        return (
            f"split.folds={settings.folds} is more than the {have} {name}s of corpus {corpus.name}; "
            f"use split.folds={have} or fewer."
        )
    ways = ["speaker"] * (len({u.speaker for u in corpus.utterances}) > 1)
    ways += ["text"] * (len({u.text for u in corpus.utterances}) > 1 and all(u.text for u in corpus.utterances))
    other = f"use split.protocol={' or '.join([*ways, 'random'])}" if unit != "random" else "add recordings"
    return f"split.protocol={settings.protocol} needs 2 {name}s and corpus {corpus.name} has one; {other}."


def _wanted(settings: SplitSettings, existing: list[int]) -> list[int]:
    missing = sorted(set(settings.only) - set(existing))
    if missing:
        raise UserError(
            f"split.only names fold {', '.join(map(str, missing))}, which split.protocol={settings.protocol} does not "
            f"have here; its folds are {', '.join(map(str, existing))}."
        )
    return [index for index in existing if not settings.only or index in settings.only]


def _require_classes(corpus: Corpus, settings: SplitSettings, training: dict[int, list[int]]) -> None:
    """Every class of the corpus must be trained in every fold that is asked for."""
    every = _classes(corpus.utterances, range(len(corpus.utterances)))
    missing = {index: every - _classes(corpus.utterances, indices) for index, indices in training.items()}
    for index, lost in missing.items():
        if lost and (not settings.only or index in settings.only):
            whole = [number for number in missing if not missing[number]]
            without = f"corpus.emotions=[{', '.join(name for name in corpus.classes if name not in lost)}]"
            instead = f"set split.only=[{','.join(map(str, whole))}], " if whole else ""
            raise UserError(
                f"fold {index} of split.protocol={settings.protocol} has nothing to train {', '.join(sorted(lost))} on "
                f"in corpus {corpus.name}; {instead}add recordings of it, or leave it out: {without}."
            )
