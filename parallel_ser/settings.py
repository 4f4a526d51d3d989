"""What all settings share: typed, frozen, and no key that nobody reads."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from parallel_ser.errors import nearest


class Settings(BaseModel):
    """Base of every settings group; an unknown key is an error, and a value never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


def one_of(name: str, known: Sequence[str], value: object, else_: str = "") -> str:
    """A value that is one of the known names; ``else_`` says what else the setting ``name`` takes.

    Raises:
        ValueError: with the names and the nearest.
    """
    if value in known:
        return str(value)
    near = nearest(str(value), known)
    guess = f"; did you mean {near}?" if near else ""
    raise ValueError(f"{name} must be one of {', '.join(known)}{else_}, not {value!r}{guess}")
