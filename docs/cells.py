"""A notebook's cells in order: executed in this process, and as Markdown.

``python docs/cells.py docs/tutorial.ipynb`` executes a notebook and keeps what its cells print.
"""

from __future__ import annotations

import ast
import io
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

Notebook = dict[str, Any]


def read(path: Path) -> Notebook:
    """The notebook in a file, by Jupyter's format 4."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def execute(notebook: Notebook) -> list[str]:
    """What each code cell prints, and the value of its last expression, as Jupyter shows them; cells share their names.

    Raises:
        Exception: what a cell raises.
    """
    names: dict[str, Any] = {"__name__": "__main__"}
    return [_said("".join(cell["source"]), names) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def _said(source: str, names: dict[str, Any]) -> str:
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if last else None
    return printed.getvalue() + ("" if value is None else f"{value!r}\n")


def keep(notebook: Notebook, said: list[str]) -> Notebook:
    """The notebook with these outputs."""
    texts = iter(said)
    made = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            text = next(texts)
            stream = {"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}
            cell = {**cell, "execution_count": None, "outputs": [stream] if text else []}
        made.append({**cell, "id": f"cell-{number}"})
    return {**notebook, "cells": made}


def outputs(notebook: Notebook) -> list[str]:
    """What each code cell printed when it was kept."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return ["".join(text for one in cell["outputs"] for text in one["text"]) for cell in code]


def as_markdown(path: Path) -> str:
    """A page with text, code and what was printed."""
    notebook, parts = read(path), []
    kept = iter(outputs(notebook))
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        if said := next(kept):
            parts.append(f"```text\n{said}```")
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    file = Path(sys.argv[1])
    told = read(file)
    file.write_text(json.dumps(keep(told, execute(told)), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
