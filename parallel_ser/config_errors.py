"""What pydantic found wrong with the settings, as one sentence for the user."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ValidationError

from parallel_ser.errors import nearest
from parallel_ser.settings import Settings
from parallel_ser.system.terminal import printable

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text or path",
    "path_type": "a path",
    "tuple_type": "a list, such as [1, 2]",
    "list_type": "a list, such as [1, 2]",
    "dict_type": "a group, such as {{name: value}}",
    "model_type": "a group of settings",
    "literal_error": "one of {expected}",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "finite_number": "a finite number",
}


@dataclass(frozen=True)
class Sources:
    """Where each setting came from: the file with its lines by dotted name, and the names the command line set."""

    file: Path | None
    lines: Mapping[str, int]
    overridden: Sequence[str]

    def of(self, name: str) -> str:
        """Say where ``name`` was set, as ``file, line 3`` or ``command line``; empty when that is not one place."""
        if any(name == key or name.startswith(f"{key}.") for key in self.overridden):
            return "command line"
        if name in self.lines:
            return f"{self.file}, line {self.lines[name]}"
        if name.rpartition(".")[0] in self.lines:
            return self.of(name.rpartition(".")[0])
        if any(key.startswith(f"{name}.") for key in self.overridden):
            return "command line"
        return ""


def explain(error: ValidationError, model: type[Settings], sources: Sources) -> str:
    """Return one sentence about the first problem, and how many more there are."""
    problems = sorted(error.errors(include_url=False), key=lambda problem: problem["type"] != "extra_forbidden")
    sentence = printable(_explain_one(problems[0], model, sources))
    end = "" if sentence.endswith("?") else "."
    more = len(problems) - 1
    return sentence + (f" (and {more} more problem{'s' if more > 1 else ''}){end}" if more else end)


def group_of(annotation: Any) -> type[Settings] | None:
    """Return the settings group that a field holds (also an optional one), or None for a plain field."""
    optional = get_origin(annotation) in (Union, UnionType)
    for candidate in (annotation, *(get_args(annotation) if optional else ())):
        if isinstance(candidate, type) and issubclass(candidate, Settings):
            return candidate
    return None


def names(model: type[Settings], prefix: str = "") -> Iterator[str]:
    """Yield every dotted name under a settings group, groups before their keys."""
    for key, field in model.model_fields.items():
        yield f"{prefix}{key}"
        if (group := group_of(field.annotation)) is not None:
            yield from names(group, f"{prefix}{key}.")


def settings_called(word: str, model: type[Settings], options: Collection[str] = (), most: int = 5) -> list[str]:
    """The dotted names of the settings that an option's name means, at the most so many.

    A whole name with its group (``train-epochs``) means itself, else a key (``epochs``) what is called so, else what it
    is short for (``lr``) or almost is, unless one of the ``options`` is nearer. Those of the training come first.
    """
    word = word.lower().replace("-", "_")
    keys = sorted((name for name in names(model) if "." in name), key=lambda name: not name.startswith("train."))
    if whole := [name for name in keys if name == word or name.replace(".", "_") == word]:
        return whole
    last = {name: name.rpartition(".")[2] for name in keys}
    short = {"".join(part[0] for part in key.split("_")): key for key in last.values() if "_" in key}
    almost = [*last.values(), *(one.lstrip("-").replace("-", "_") for one in options)]
    wanted = word if word in last.values() else short.get(word) or nearest(word, almost)
    return [name for name, key in last.items() if key == wanted][:most]


def _explain_one(problem: Any, model: type[Settings], sources: Sources) -> str:
    kind, name = problem["type"], ".".join(str(part) for part in problem["loc"])
    place = sources.of(name)
    where = f" ({place})" if place else ""
    if kind == "extra_forbidden":
        return f"unknown setting {name}{where}; {_suggest(name, model)}"
    if kind == "value_error":
        clause = str(problem["ctx"]["error"])
        return clause if not name or clause.startswith((f"{name}.", f"{name}=", f"{name} ")) else f"{name}: {clause}"
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"{name or 'settings'}{where}: {problem['msg']}"
    given = problem["input"]
    sentence = f"{name} must be {expected.format(**problem.get('ctx', {}))}, not {_show(given)}{where}"
    if kind == "literal_error" and isinstance(given, str):
        choices = [choice.strip("'") for choice in problem["ctx"]["expected"].replace(" or ", ", ").split(", ")]
        if near := nearest(given, choices):
            return f"{sentence}; did you mean {near}?"
    if kind in ("string_type", "path_type") and isinstance(given, int | float):
        return f"{sentence}; put it in quotes"
    return sentence


def _suggest(name: str, model: type[Settings]) -> str:
    """Say which known setting an unknown name is nearest to: among its siblings first, then anywhere."""
    parent, _, leaf = name.rpartition(".")
    known = list(names(model))
    siblings = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == parent}
    anywhere = {key.rpartition(".")[2]: key for key in reversed(known)}
    if near := nearest(leaf, siblings):
        return f"did you mean {siblings[near]}?"
    if near := nearest(leaf, anywhere):
        return f"did you mean {anywhere[near]}?"
    return f"{parent or 'the settings'} {'has' if parent else 'have'} {', '.join(siblings)}"


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return "a group of settings"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str | list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
