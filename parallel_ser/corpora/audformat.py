"""A database in audformat: a YAML header, and tables of files as CSV or Parquet (Wagner et al., audEERING).

Read without the package of that name. Format: <https://audeering.github.io/audformat/data-format.html>
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from parallel_ser.corpora.base import Corpus, NoCorpusError, Problem, Utterance
from parallel_ser.corpora.folder import existing_folder
from parallel_ser.corpora.labels import SEVEN, canonical, present
from parallel_ser.corpora.manifest import require_whole, seconds, sex_of
from parallel_ser.corpora.table import Finder, Row, rows
from parallel_ser.errors import UserError
from parallel_ser.system.files import plain

HEADER = "db.yaml"
_KNOWN = ("emotion", "speaker", "gender", "sex", "transcription", "text", "duration")
_INDEX = ("file", "start", "end")


def read(root: Path) -> Corpus:
    """Read the files that a column ``emotion`` of some table labels; what other tables say of a file joins it.

    A column counts as ``emotion``, ``speaker`` and so on by its name, else as the only one of its table with a scheme
    of that name. Sex and what is said come from the labels of the schemes ``speaker`` and ``transcription``, or from
    columns. ``split`` in ``fields`` is the type of the split that an emotion's table belongs to. Segments must be
    whole files. A labelled file that is not here is a ``missing`` problem.

    Raises:
        UserError: no database, a header or table that is none, a file without a speaker or with two emotions.
    """
    root = existing_folder(root, "audformat", f"{HEADER} and its tables")
    header = _header(root / HEADER)
    files: dict[str, dict[str, str]] = {}
    for name, table in header["tables"].items():
        _join(files, root, name, table, header)
    finder, people, texts = Finder(root), _labels(root, header, "speaker"), _labels(root, header, "transcription")
    labelled = {file: cells for file, cells in files.items() if cells.get("emotion")}
    utterances: list[Utterance] = []
    problems: list[Problem] = []
    for file, cells in sorted(labelled.items()):
        path = finder(file)
        if path is None:
            problems.append(Problem(root / file, "missing", f"labelled in {HEADER}'s tables, but there is no file"))
            continue
        require_whole(Row(cells, f"audformat: {root}: a table", 0), path)
        utterances.append(_utterance(path, file, cells, str(header["name"]), people, texts))
    if not utterances:
        raise UserError(f"audformat: no file that {root} labels with an emotion is there; it needs a column emotion.")
    rest = len(files) - len(labelled)
    notes = (f"left out of {header['name']}: files without an emotion ({rest:,})",) if rest else ()
    emotions = {utterance.emotion for utterance in utterances}
    order = (*SEVEN, *sorted(emotions - set(SEVEN)))
    return Corpus("audformat", tuple(utterances), present(order, emotions), tuple(problems), notes)


def _header(file: Path) -> dict[str, Any]:
    import yaml

    try:
        header = yaml.safe_load(plain(file).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NoCorpusError(f"audformat: there is no {file}; expected the folder of a database.") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"audformat: {file} cannot be read as YAML; copy it again.") from error
    tables = header.get("tables") if isinstance(header, dict) else None
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise UserError(f"audformat: {file} is not the header of a database: it has no tables.")
    return {"name": "audformat", "schemes": {}, "splits": {}, **header}


def _join(
    files: dict[str, dict[str, str]], root: Path, name: str, table: Mapping[str, Any], header: Mapping[str, Any]
) -> None:
    """Put what a table says of each file to what is known of it."""
    names = _names(table.get("columns") or {})
    split = (header["splits"] or {}).get(table.get("split_id")) or {}
    listed: set[str] = set()
    for row in _records(root, name):
        file = row.get("file", "")
        cells = files.setdefault(file, {})
        if file in listed:
            raise UserError(
                f"audformat: {file} has several rows in the table {name} of {root}, and an utterance is a file of its "
                "own; parallel-ser corpus cut TABLE.csv --to FOLDER cuts segments out."
            )
        listed.add(file)
        said = {names.get(column, column): cell for column, cell in row.items() if column != "file" and cell}
        if split and said.get("emotion"):
            said["split"] = str(split.get("type", table["split_id"]))
        if cells.get("emotion", said.get("emotion")) != said.get("emotion", cells.get("emotion")):
            raise UserError(
                f"audformat: {file} is {said['emotion']} in the table {name} of {root} and {cells['emotion']} in "
                "another; keep one of them."
            )
        files[file] = {**said, **cells}


def _names(columns: Mapping[str, Any]) -> dict[str, str]:
    """Columns by what they are called here, where their scheme tells."""
    schemes = {name: (column or {}).get("scheme_id") for name, column in columns.items()}
    found = {}
    for known in _KNOWN:
        of_scheme = [name for name, scheme in schemes.items() if scheme == known]
        if known not in schemes and len(of_scheme) == 1:
            found[of_scheme[0]] = known
    return found


def _records(root: Path, name: str) -> Iterator[Mapping[str, str]]:
    """The lines of a table; its CSV file goes before Parquet."""
    base = HEADER.removesuffix(".yaml")
    if (file := root / f"{base}.{name}.csv").is_file():
        # the index is called file, which is path among the columns that are known
        yield from (
            {"file": row.cells.get("path", ""), **_without(row.cells, "path")} for row in rows(file, "audformat", ())
        )
    elif (file := root / f"{base}.{name}.parquet").is_file():
        yield from _parquet(file)
    else:
        raise UserError(f"audformat: {root} has no {base}.{name}.csv; save the database with storage_format='csv'.")


def _without(cells: Mapping[str, str], key: str) -> dict[str, str]:
    return {name: cell for name, cell in cells.items() if name != key}


def _parquet(file: Path) -> Iterator[Mapping[str, str]]:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(
            f"audformat: {file} is Parquet: install parallel-ser[parquet], or save the database with "
            "storage_format='csv'."
        ) from error
    try:
        records = pyarrow.parquet.read_table(file).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise UserError(f"audformat: {file} cannot be read as Parquet; copy it again.") from error
    for record in records:
        yield {name: "" if value is None else str(value) for name, value in record.items()}


def _labels(root: Path, header: Mapping[str, Any], scheme: str) -> dict[str, Any]:
    """What a scheme, or the misc table that it names, says of each of its labels."""
    labels = ((header["schemes"] or {}).get(scheme) or {}).get("labels")
    if isinstance(labels, str):
        return {row.get(scheme, ""): row for row in _records(root, labels)}
    return {str(label): about for label, about in labels.items()} if isinstance(labels, dict) else {}


def _utterance(
    path: Path, file: str, cells: Mapping[str, str], corpus: str, people: Mapping[str, Any], texts: Mapping[str, Any]
) -> Utterance:
    speaker = cells.get("speaker")
    if not speaker:
        raise UserError(f"audformat: {file} has no speaker in any table, which every recording needs.")
    person = people.get(speaker)
    about = {**(person if isinstance(person, Mapping) else {}), **cells}
    text = cells.get("transcription") or cells.get("text", "")
    known = texts.get(text)
    where = f"audformat: {file}"
    return Utterance(
        path=path,
        corpus=corpus,
        speaker=f"{corpus}-{speaker}",
        sex=sex_of(str(about.get("gender") or about.get("sex") or ""), where),
        emotion=canonical(cells["emotion"]) or cells["emotion"].casefold(),
        text=known if isinstance(known, str) else text,
        duration=seconds(cells.get("duration", ""), where, "duration"),
        fields={name: cell for name, cell in cells.items() if name not in (*_KNOWN, *_INDEX)},
    )
