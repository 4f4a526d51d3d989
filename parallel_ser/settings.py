"""What all settings share: typed, frozen, and no key that nobody reads."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Base of every settings group; an unknown key is an error, and a value never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
