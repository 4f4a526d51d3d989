"""What the docs tell users to type: commands, options and settings that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from parallel_ser.cli import app
from parallel_ser.config import Config, load
from parallel_ser.config_errors import names

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SETTINGS = set(names(Config))


def lines() -> Iterator[tuple[str, str]]:
    """Each line of a shell block that starts this program, with its page."""
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.S):
            for line in block.replace("\\\n", " ").splitlines():
                if re.match(r"\s*(parallel-ser|torchrun)\b", line):
                    yield page.name, line.strip()


TYPED = list(lines())


@pytest.mark.parametrize(("page", "line"), TYPED, ids=[f"{page} {line[:50]}" for page, line in TYPED])
def test_a_line_of_the_docs_can_be_typed(page: str, line: str) -> None:
    words = shlex.split(re.sub(r"\$\(.*?\)", "SOME", line), comments=True)
    if words[0] == "torchrun":
        script = next(place for place, word in enumerate(words) if word.endswith(".py") or word == "-m")
        words = ["parallel-ser", "train", *words[script + 1 :]]
    command = typer.main.get_command(app)
    words = words[1:]
    while (below := getattr(command, "commands", {})) and words and not words[0].startswith("-"):
        assert words[0] in below, f"{page}: no command is called {words[0]}"
        command = below[words.pop(0)]
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    for word in words:
        if word.startswith("-") and len(word) > 1 and word != "--":
            assert word.partition("=")[0] in options | {"-h", "--help", "--install-completion"}, f"{page}: {word}"
        elif re.match(r"[a-z_]+\.[a-z_.]+=", word):
            assert word.partition("=")[0] in SETTINGS or word.startswith(("model.options", "corpus.where")), word


def test_the_configurations_that_the_readme_names_are_there_and_normalise_one_file() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in set(re.findall(r"--config (\S+)", text)):
        assert (ROOT / name).is_file()
    path = [line for _, line in TYPED if "configs/ravdess.yaml" in line and line in text]
    assert path
    for line in path:
        overrides = [word for word in shlex.split(line, comments=True) if re.match(r"[a-z_]+\.", word)]
        assert load(ROOT / "configs/ravdess.yaml", overrides).train.normalise == "train"
    assert load(ROOT / "configs/quick.yaml", []).train.normalise == "train"


def test_the_readme_installs_what_analyze_needs_before_it_is_typed() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    before, command, _ = text.partition("parallel-ser analyze")
    assert command
    assert "pip install 'parallel-ser[analyze]'" in before
