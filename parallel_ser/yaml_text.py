"""Plain data from YAML text and back, without the surprises of YAML 1.1.

PyYAML reads ``off`` as false, ``2e-3`` as text, ``1:30`` as 90 and ``012`` as 10, and of a key given twice it keeps
the last without a word. Here scalars follow the core schema of YAML 1.2 (section 10.3.2), less octal, hexadecimal,
infinity and not-a-number, which no setting wants:

    null  ~ or null or nothing      true false  bool      12  int      1.5  2e-3  float      all else  text
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import yaml

from parallel_ser.system.terminal import printable

_TAG = "tag:yaml.org,2002:"
_SCALARS = {
    "null": (re.compile(r"(?:~|null|Null|NULL|)\Z"), ("~", "n", "N", "")),
    "bool": (re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), tuple("tTfF")),
    "int": (re.compile(r"[-+]?[0-9]+\Z"), tuple("-+0123456789")),
    "float": (
        re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z"),
        tuple("-+.0123456789"),
    ),
}


class YamlProblem(Exception):
    """What is wrong with a text, as one clause, and the line (from 1) where it shows."""

    def __init__(self, clause: str, line: int) -> None:
        super().__init__(clause)
        self.clause = printable(clause)
        self.line = line


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own way to set a schema

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse aliases: settings need none, and without them the data is a finite tree."""
        if self.check_event(yaml.AliasEvent):
            raise YamlProblem("aliases (*name) are not supported", self.peek_event().start_mark.line + 1)
        return super().compose_node(parent, index)


class _TextLoader(_Loader):
    """Leaves every scalar a text."""


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012


for _name, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, list(_first))
    _Dumper.add_implicit_resolver(_TAG + _name, _pattern, list(_first))
_TextLoader.yaml_implicit_resolvers = {}
_Dumper.add_representer(list, lambda dumper, items: dumper.represent_sequence(_TAG + "seq", items, flow_style=True))
# PyYAML loses the next-line character in single quotes; double quotes write what does not print as an escape
_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar(_TAG + "str", text, style=None if text.isprintable() else '"')
)


def read(text: str) -> tuple[Any, Mapping[str, int]]:
    """Return the text's data and the line of each dotted name in it, such as ``{"train.epochs": 12}``.

    Raises:
        YamlProblem: not YAML, a key given twice, a key that is no text, an alias or a tag.
    """
    lines: dict[str, int] = {}
    node = _composed(text, _Loader)
    return (None if node is None else _plain(node, "", lines)), lines


def _composed(text: str, loader: type[_Loader]) -> Any:
    try:
        return yaml.compose(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        clause = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlProblem(clause, mark.line + 1 if mark else 1) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlProblem(f"character #x{int(error.character):04x} is not allowed", line) from error
    except RecursionError as error:
        raise YamlProblem("it is nested too deeply", 1) from error


def read_value(text: str, texts: bool = False) -> Any:
    """Return one value of a command line: a list or a quoted text in YAML, else a scalar, or the text as it is.

    Args:
        text: what is read; ``#`` begins no comment outside a list.
        texts: the items of a list are texts, also where they look like something else.

    >>> read_value("2e-3"), read_value("my run #1"), read_value("[1, x]"), read_value("[1, x]", texts=True)
    (0.002, 'my run #1', [1, 'x'], ['1', 'x'])

    Raises:
        YamlProblem: a list or a quoted text that does not end, or as ``read``.
    """
    stripped = text.strip()
    if stripped[:1] in tuple("[{\"'"):
        node = _composed(stripped, _TextLoader if texts else _Loader)
        return _plain(node, "", {})
    for kind, (pattern, _) in _SCALARS.items():
        if pattern.match(stripped):
            return _scalar(kind, stripped, 1)
    return text


def write(data: Any) -> str:
    """Return plain data as YAML that ``read`` turns into equal data, with keys in their order."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)


def _plain(node: yaml.Node, name: str, lines: dict[str, int]) -> Any:
    """Turn a node into dicts, lists and scalars; ``name`` is the dotted name of where it stands."""
    line = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
        return [_plain(item, f"{name}.{index}", lines) for index, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            key = _plain(key_node, name, lines)
            if not isinstance(key, str):
                raise YamlProblem(f"the key {key!r} is not a name", key_line)
            full = f"{name}.{key}" if name else key
            if key in data:
                raise YamlProblem(f"{full} is given twice (first on line {lines[full]})", key_line)
            lines[full] = key_line
            data[key] = _plain(value_node, full, lines)
        return data
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node.tag.removeprefix(_TAG), node.value, line)
    raise YamlProblem(f"the tag {node.tag} is not supported", line)


def _scalar(kind: str, text: str, line: int) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    try:
        if kind == "int":
            return int(text)
        if kind == "float" and math.isfinite(value := float(text)):
            return value
    except ValueError:  # more digits than Python converts
        return text
    if kind in ("str", "float"):  # a float beyond all bounds stays text, which no number field takes
        return text
    raise YamlProblem(f"the tag {kind} is not supported", line)
