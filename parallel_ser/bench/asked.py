"""What a benchmark is asked for: the options of ``parallel-ser bench``, or a suite's YAML with the same names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator

from parallel_ser import yaml_text
from parallel_ser.bench.accuracy import System
from parallel_ser.errors import UserError, did_you_mean
from parallel_ser.quantities import memory, seconds
from parallel_ser.settings import Settings
from parallel_ser.system.files import plain

SuiteName = Literal[
    "strategies", "scaling", "memory", "microbatches", "classical", "features", "accuracy", "models", "efficiency"
]


class Asked(Settings):
    """The options.

    ``suite``: what is measured.
    ``config``, ``settings``: of the training, as those of ``parallel-ser train``.
    ``nproc``: processes.
    ``model``: size of the network; its default without. ``model.name`` and ``width`` are settings of the training.
    ``batch``: utterances of a step.
    ``microbatches``: of a pipeline's step.
    ``strategies``: rows to keep, by how their names begin; all without.
    ``corpus``, ``root``: the corpus and its folder.
    ``repeats``: rounds at the most; seeds of the suite ``models``.
    ``budget``: no round begins later, such as ``10m``.
    ``memory_per_rank``: of the suite ``memory``, such as ``2GiB``.
    ``systems``: of the suites ``accuracy`` and ``models``.
    ``out``, ``resume``: folder of the results; go on there.
    ``hooks``: rows with a function that spoils them, for tests.
    """

    suite: SuiteName = "strategies"
    config: Path | None = None
    settings: tuple[str, ...] = ()
    nproc: int = Field(2, ge=2, le=1024)
    model: str = ""
    batch: int = Field(32, ge=1)
    microbatches: int = Field(4, ge=1)
    strategies: tuple[str, ...] = ()
    corpus: str | None = None
    root: Path | None = None
    repeats: int = Field(5, ge=1)
    budget: str = "200s"
    memory_per_rank: str = "1GiB"
    systems: tuple[System, ...] = ()
    out: Path | None = None
    resume: bool = False
    hooks: Mapping[str, str] = Field(default_factory=dict)

    @field_validator("strategies", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return tuple(one.strip() for one in value.split(",")) if isinstance(value, str) else value

    @property
    def overrides(self) -> tuple[str, ...]:
        """Settings of the training, the corpus among them."""
        named = [f"corpus.name={self.corpus}"] if self.corpus else []
        rooted = [f"corpus.root={self.root}"] if self.root else []
        return (*named, *rooted, *self.settings)

    @property
    def budget_seconds(self) -> float:
        """``budget`` in seconds."""
        return seconds(self.budget, "--budget")

    @property
    def limit(self) -> int:
        """``memory_per_rank`` in bytes."""
        return int(memory(self.memory_per_rank, "--memory-per-rank"))


def asked(suite: str, given: Mapping[str, Any]) -> Asked:
    """The options of a command line, over those of a suite's YAML where ``suite`` is one.

    Args:
        suite: a suite's name, or the path of a YAML file that has ``suite`` and any other option.
        given: options that were typed; ``settings`` follow the file's.

    Raises:
        UserError: the file cannot be read, or an option is not one or has a wrong value.
    """
    file: dict[str, Any] = {"suite": suite}
    if re.search(r"\.ya?ml$", suite):
        try:
            file, _ = yaml_text.read(plain(Path(suite)).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read {suite}: {error.strerror or error}.") from error
        except yaml_text.YamlProblem as problem:
            raise UserError(f"{suite}, line {problem.line}: {problem.clause}.") from problem
        except UnicodeDecodeError as error:
            raise UserError(f"{suite} is not a text in UTF-8; a suite is YAML.") from error
        if not isinstance(file, dict) or "suite" not in file:
            raise UserError(f"{suite} names no suite: begin it with such as suite: strategies.")
    if not isinstance(file.get("settings", []), list):
        raise UserError(f"{suite}: settings is a list of such as features.n_mels=40.")
    together = {**file, **given, "settings": [*file.get("settings", ()), *given.get("settings", ())]}
    try:
        found = Asked.model_validate_json(json.dumps(together, default=str))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "literal_error" and where == "suite":
            wanted, suites = str(together["suite"]), get_args(SuiteName)
            raise UserError(
                f"there is no suite {wanted}{did_you_mean(wanted, suites)}; there is {', '.join(suites)}, or a YAML."
            ) from error
        named = suite if where.split(".")[0] in file and where.split(".")[0] not in given else "parallel-ser bench"
        raise UserError(f"{named}: {where or 'the options'}: {first['msg']}.") from error
    _, _ = found.budget_seconds, found.limit  # a wrong quantity is refused before anything is measured
    return found
