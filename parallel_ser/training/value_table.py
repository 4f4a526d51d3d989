"""A table of utterances and named values, as Parquet or CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from parallel_ser.corpora.base import Utterance
from parallel_ser.errors import UserError
from parallel_ser.system.csv_text import csv_text
from parallel_ser.system.files import write_atomic

_ABOUT = ("path", "corpus", "speaker", "sex", "emotion", "text")


def check_kind(path: Path) -> None:
    """Refuse now what could not be written after all the work.

    Raises:
        UserError: the name ends otherwise, or Parquet is asked for and its package missing.
    """
    if path.suffix not in (".parquet", ".csv"):
        raise UserError(f"{path} must end in .parquet or .csv.")
    if path.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise UserError(
                "Parquet needs the package pyarrow: pip install 'parallel-ser[parquet]', or name a .csv file."
            ) from error


def write(path: Path, utterances: Sequence[Utterance], values: np.ndarray, names: Sequence[str]) -> None:
    """Write (utterances, values) with what each utterance is; whole or not at all.

    Raises:
        UserError: as ``check_kind``, or the file cannot be written.
    """
    check_kind(path)
    about = {name: [str(getattr(one, name)) for one in utterances] for name in _ABOUT}
    if path.suffix == ".csv":
        rows = ([*who, *row] for who, row in zip(zip(*about.values(), strict=True), values.tolist(), strict=True))
        data = csv_text([[*_ABOUT, *names], *rows]).encode("utf-8", "surrogateescape")
        write_atomic(path, lambda file: file.write(data))
        return
    import pyarrow
    import pyarrow.parquet

    columns = {**about, **{name: values[:, place].astype(np.float32) for place, name in enumerate(names)}}
    table = pyarrow.table(columns)
    write_atomic(path, lambda file: pyarrow.parquet.write_table(table, file))
