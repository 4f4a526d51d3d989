"""Whether what is installed goes together, and what to do where it does not: by the standard library alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from types import TracebackType
from typing import Any

PACKAGE = "parallel-ser"

TOGETHER = ("torch", "torchaudio")
"""Packages of which one loads the other's libraries: they are mended together."""


def problem() -> str | None:
    """What is missing or of a wrong version, in a sentence with the command that mends it; None where nothing is.

    It compares what is installed with what this package asks for, and imports none of it.
    """
    try:
        needed = _needed()
    except ImportError:
        return f"packaging is missing: run {_pip('packaging')}."
    for one in needed:
        try:
            found = version(one.name)
        except PackageNotFoundError:
            clause = f"{one.name} is missing"
        else:
            if one.specifier.contains(found, prereleases=True):
                continue
            clause = f"{one.name} {found} is installed where {PACKAGE} needs {one.name}{one.specifier}"
        names = TOGETHER if one.name in TOGETHER else (one.name,)
        return f"{clause}: run {_pip(*_asked(needed, names))}."
    return None


def explain(error: BaseException) -> str | None:
    """A sentence for an import that failed, with the command that mends it; None for any other error."""
    package = _importing(error.__traceback__)
    if isinstance(error, ImportError) and error.name and not package:
        package = error.name.partition(".")[0]
    if not package or package == "parallel_ser" or not isinstance(error, (ImportError, OSError)):
        return None
    reason = " ".join(str(error).split())[:200]
    if "failed to map segment" in reason:
        return (
            f"{package} does not load ({reason}): there is too little memory for it, so raise the limit (ulimit -v) or "
            "end other programs; or its folder lies where no program may run (noexec)."
        )
    if package in TOGETHER:
        try:
            pinned = _asked(_needed(), TOGETHER) or TOGETHER
        except ImportError:
            pinned = TOGETHER
        pair = " beside ".join(f"{name} {_version(name)}" for name in reversed(TOGETHER))
        return f"{pair} does not load ({reason}): run {_pip('--force-reinstall', *pinned)}."
    return f"{package} cannot be imported ({reason}): run {_pip('--force-reinstall', package)}."


def versions() -> dict[str, str]:
    """The version of this package and of each that it can use, as far as they are installed; libsndfile's too."""
    found = {}
    for name in (PACKAGE, *sorted({one.name for one in _wanted()})):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    if "soundfile" in found:
        import soundfile

        found["libsndfile"] = soundfile.__libsndfile_version__
    return found


def _importing(traceback: TracebackType | None) -> str:
    """The package outside this one whose import was under way, such as ``torchaudio``; empty where none was."""
    while traceback is not None:
        frame = traceback.tb_frame
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if frame.f_code.co_name == "<module>" and package not in ("parallel_ser", "__main__", "importlib", "runpy"):
            return package
        traceback = traceback.tb_next
    return ""


def _needed() -> list[Any]:
    """What this package asks for here, without its extras."""
    return [one for one in _wanted() if not one.marker or one.marker.evaluate({"extra": ""})]


def _wanted() -> list[Any]:
    """What this package asks for, anywhere and with every extra; nothing where it is a checkout not installed."""
    try:
        wanted = requires(PACKAGE) or []
    except PackageNotFoundError:
        return []
    from packaging.requirements import Requirement

    return [Requirement(text) for text in wanted]


def _asked(needed: Sequence[Any], names: Sequence[str]) -> tuple[str, ...]:
    """The requirements of these names, as pip takes them."""
    return tuple(f"{one.name}{one.specifier}" for one in needed if one.name in names)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(missing)"


def _pip(*words: str) -> str:
    quoted = (f"'{word}'" if set(word) & set("<>=!~") else word for word in words)
    return f"{sys.executable} -m pip install {' '.join(quoted)}"
