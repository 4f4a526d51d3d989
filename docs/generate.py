"""Pages of the site that are made of what the package says of itself: settings, commands, strategies, schedules."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import cells
import typer
from pydantic.fields import FieldInfo

from parallel_ser.cli import app
from parallel_ser.config import Config
from parallel_ser.config_errors import group_of
from parallel_ser.parallel.schedule.registry import schedules
from parallel_ser.parallel.schedule.simulate import Times, simulate
from parallel_ser.parallel.strategies.registry import strategies
from parallel_ser.report.timeline import timeline_picture
from parallel_ser.settings import Settings
from parallel_ser.system.files import write_text

HERE = Path(__file__).parent
RANKS, MICROBATCHES = 4, 8
"""Of the drawn schedules."""
_ENTRY = re.compile(r"``\w+``(?:, ``\w+``)*:(?= )")
_KINDS = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text", Path: "path"}
_BOUNDS = {"ge": "at least {:,}", "gt": "above {:,}", "le": "at most {:,}", "lt": "below {:,}"}


def write(folder: Path) -> None:
    """Write all of it into a folder; files that stay the same are not touched."""
    folder.mkdir(exist_ok=True)
    pages: dict[str, Callable[[], str]] = {
        "settings.md": settings_page,
        "commands.md": commands_page,
        "part-strategies.md": strategies_table,
        "part-schedules.md": schedules_table,
        "tutorial.md": lambda: cells.as_markdown(HERE / "tutorial.ipynb"),
    }
    for name, page in pages.items():
        text, path = page(), folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_text(path, text)
    for schedule in schedules().values():
        picture = folder / f"schedule-{schedule.name}.svg"
        if not picture.exists():
            played = simulate(schedule.orders(RANKS, MICROBATCHES), Times(1, 1, 1))
            timeline_picture(played.record()["actions"], picture, schedule.name)


def described(group: type[Settings]) -> dict[str, str]:
    """What the docstring of a group says of each of its settings, which begins a line with its name and a colon."""
    own = [kind.__doc__ or "" for kind in reversed(group.__mro__) if issubclass(kind, Settings)]
    found: dict[str, str] = {}
    names: list[str] = []
    for line in (line.strip() for text in own for line in ("", *text.splitlines()[1:])):
        if entry := _ENTRY.match(line):
            names = re.findall(r"``(\w+)``", entry[0])
            found.update(dict.fromkeys(names, line[entry.end() :].strip()))
        elif line:
            found.update({name: f"{found[name]} {line}" for name in names})
        else:
            names = []
    return found


def reference(group: type[Settings] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo, str]]:
    """Each setting with its dotted name, field and description: a group's own before the groups in it."""
    texts = described(group)
    for name, field in sorted(group.model_fields.items(), key=lambda one: isinstance(one[1].default, Settings)):
        yield f"{prefix}{name}", field, texts.get(name, "")
        if isinstance(field.default, Settings):
            yield from reference(type(field.default), f"{prefix}{name}.")


def settings_page() -> str:
    """Every setting of a run: its default, what it takes, what it is."""
    lines = [
        "# Settings",
        "",
        "Every setting of a run with its default, as `configs/default.yaml` has them and `group.key=value` on the",
        "command line changes them ([how](../runs.md#settings)). Some models, and `parallel-ser baseline`, have other",
        "defaults where none is given.",
    ]
    for name, field, text in reference():
        if isinstance(field.default, Settings):
            title = (type(field.default).__doc__ or "").strip().splitlines()[0]
            lines += ["", f"{'#' * (2 + name.count('.'))} {name}", "", title]
            continue
        what = f"{taken(field)}; default {_value(field.get_default(call_default_factory=True))}"
        lines += ["", f"`{name}`", f": {text[:1].upper()}{text[1:]} *({what})*"]
    return "\n".join(lines) + "\n"


def taken(field: FieldInfo) -> str:
    """What a setting takes, in words."""
    given = [(name, getattr(one, name)) for one in field.metadata for name in _BOUNDS if hasattr(one, name)]
    bounds = [_BOUNDS[name].format(bound) for name, bound in given]
    if any(getattr(one, "min_length", 0) for one in field.metadata):
        bounds.append("one or more")
    return ", ".join([_kind(field.annotation), *bounds])


def _kind(annotation: Any) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inner)
    if group_of(annotation) is not None:
        return "a group" if origin is None else "a group, or nothing"
    if origin in (Union, UnionType):
        *rest, last = [_kind(one) for one in inner if one is not type(None)]
        text = f"{', '.join(rest)} or {last}" if rest else last
        return f"{text}, or nothing" if type(None) in inner else text
    if origin is tuple:
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return f"group of names, each with {_kind(inner[1])}"
    return _KINDS[annotation] if annotation in _KINDS else _kind(get_args(annotation)[0])


def _value(value: Any) -> str:
    if value is None or value == "":
        return "nothing"
    if isinstance(value, list | tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def strategies_table() -> str:
    """What the strategies' descriptors say."""
    lines = ["| `strategy.name` | a process holds | it sends | settings of its own |", "| --- | --- | --- | --- |"]
    for one in strategies().values():
        own = ", ".join(f"`{name}`" for name in sorted(one.takes)) or "–"
        lines.append(f"| `{one.name}` | {one.holds} | {one.sends} | {own} |")
    return "\n".join(lines) + "\n"


def schedules_table() -> str:
    """A drawn schedule after the other, with what its descriptor says."""
    parts = []
    for one in schedules().values():
        source = f" ({one.source})" if one.source else ""
        text = f"`{one.name}`{source}: {one.summary}."
        parts += [text, "", f"![{one.name} on {RANKS} ranks](_generated/schedule-{one.name}.svg)", ""]
    return "\n".join(parts)


def commands_page() -> str:
    """Every command with its arguments and options, as ``--help`` says them."""
    lines = ["# Commands", "", "What `parallel-ser COMMAND --help` says."]
    for name, command in _commands(typer.main.get_command(app), "parallel-ser"):
        lines += ["", f"## {name}", "", *(line.strip() for line in (command.help or "").strip().splitlines())]
        for one in command.params:
            if getattr(one, "hidden", False) or one.name in ("install_completion", "show_completion", "help"):
                continue
            shown = ", ".join(f"`{word}`" for word in (*one.opts, *one.secondary_opts) if word.startswith("-"))
            lines += ["", shown or f"`{one.metavar or one.name.upper()}`", f": {_help(one)}"]
    return "\n".join(lines) + "\n"


def _help(parameter: Any) -> str:
    default = parameter.default
    plain = isinstance(default, int | float | str) and not isinstance(default, bool) and default != ""
    return f"{getattr(parameter, 'help', None) or '–'}{f' *(default `{default}`)*' if plain else ''}"


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
    for word, one in (below or {}).items():
        yield from _commands(one, f"{name} {word}")
