"""The site: pages that hang together, and what is generated says all that there is. ``make docs`` builds it."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from types import ModuleType

import pytest
import typer

from parallel_ser.cli import app
from parallel_ser.config import Config
from parallel_ser.config_errors import names
from parallel_ser.parallel.schedule.registry import schedules
from parallel_ser.parallel.strategies.registry import strategies
from parallel_ser.settings import Settings

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if not path.relative_to(DOCS).parts[0].startswith("_"))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        import generate

        return generate


@pytest.fixture(scope="module")
def generated(generate: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "_generated"
    generate.write(folder)
    return folder


def test_every_setting_is_described(generate: ModuleType) -> None:
    groups = {"split.test"}  # like corpus, which is there
    wanted = {name for name in names(Config) if not any(name.startswith(f"{group}.") for group in groups)}
    found = {name: text for name, field, text in generate.reference() if not isinstance(field.default, Settings)}
    assert wanted - {name.rpartition(".")[0] for name in wanted} == set(found)
    assert [name for name, text in found.items() if len(text) < 5] == []
    page = generate.settings_page()
    for name in found:
        assert page.count(f"\n`{name}`\n: ") == 1, name
        heading = re.findall(r"^##+ (.*)$", page.partition(f"\n`{name}`\n")[0], flags=re.M)[-1]
        assert heading == name.rpartition(".")[0]


def test_no_description_is_of_a_setting_that_is_not_there(generate: ModuleType) -> None:
    groups = [type(field.default) for _, field, _ in generate.reference() if isinstance(field.default, Settings)]
    assert len(groups) > 10
    for group in groups:
        assert set(generate.described(group)) == set(group.model_fields), group.__name__


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train.learning_rate", "number, above 0.0, at most 10.0; default `0.002`"),
        ("train.noise", "number, or nothing, at least -20.0, at most 40.0; default nothing"),
        ("strategy.axis", "`channel`, `time`; default `time`"),
        ("features.streams", "one or more; default `[logmel]`"),
        ("corpus.where", "group of names, each with list of text; default `{}`"),
        ("train.spec_augment", "`true` or `false`; default `true`"),
    ],
)
def test_what_a_setting_takes_is_said(generate: ModuleType, name: str, words: str) -> None:
    entry = generate.settings_page().partition(f"\n`{name}`\n")[2].partition("\n\n")[0]
    assert words in entry


def test_every_command_and_option_has_its_entry(generate: ModuleType) -> None:
    page = generate.commands_page()
    group = typer.main.get_command(app)
    commands = {**group.commands, **{f"corpus {name}": one for name, one in group.commands["corpus"].commands.items()}}
    del commands["corpus"]
    for name, command in commands.items():
        entry = page.partition(f"\n## parallel-ser {name}\n")[2].partition("\n## ")[0]
        assert entry, name
        for option in (word for one in command.params for word in one.opts if word.startswith("--")):
            assert f"`{option}`" in entry or option == "--help", f"{name} {option}"


def test_strategies_and_schedules_are_those_of_the_registries(generated: Path) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (generated / "part-strategies.md").read_text(), flags=re.M)
    assert rows == list(strategies())
    drawn = [name for name in schedules() if "<svg" in (generated / f"schedule-{name}.svg").read_text()]
    text = (generated / "part-schedules.md").read_text()
    assert [name for name in drawn if f"schedule-{name}.svg" in text] == list(schedules())


def slug(title: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    plain = re.sub(r"[`*]|\]\([^)]*\)|\[", "", title).strip().lower()
    return "".join("-" if one == " " else one for one in plain if unicodedata.category(one)[0] in "LN" or one in " -_")


def anchors(text: str) -> set[str]:
    return {slug(title) for title in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.S), flags=re.M)}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_between_pages_lead_somewhere(page: Path, generated: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if "_generated" in place.parts:
            place = generated / place.name
        assert place.is_file(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(place.read_text(encoding="utf-8")), f"{page.name}: {target}"


def test_every_page_stands_in_the_index(generated: Path) -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = [name for block in re.findall(r"```\{toctree\}\n(.*?)```", index, flags=re.S) for name in block.split()]
    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in PAGES}
    made = {f"_generated/{path.stem}" for path in generated.glob("*.md") if not path.name.startswith("part-")}
    assert {name for name in listed if not name.startswith(":")} >= pages - {"index"} | made
