"""What a benchmark keeps: what ran, on which machine, and every sample; old versions still open."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from parallel_ser.errors import UserError
from parallel_ser.parallel.settings import StrategySettings
from parallel_ser.system.files import plain, write_text

VERSION: Literal[1] = 1


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Job(_Plain):
    """One row of a benchmark: what is measured in fresh processes.

    Attributes:
        name: of the row, unique in its record.
        strategy: of the training.
        ranks: processes.
        threads: of each; ranks × threads is the same in every row that is compared.
        batch: utterances of a step, over all ranks.
        size: of the network.
        group: rows of one group are compared with each other, such as those of equal ranks.
        reference: whether it is what the others of its group are compared with.
    """

    name: str
    strategy: StrategySettings
    ranks: int
    threads: int
    batch: int
    size: Literal["s", "m", "l", "xl"]
    group: str = ""
    reference: bool = False


class RankShare(_Plain):
    """Where a rank's step went, in seconds; they sum to the step. See ``parallel.trace``."""

    rank: int
    step: float
    compute: float
    communication: float
    bubble: float
    imbalance: float
    cpu: float = 0.0


class Sample(_Plain):
    """One measurement of a job: one round, fresh processes.

    Attributes:
        round: its number.
        steps: seconds of each timed step, of its slowest rank.
        losses: of every step from the first, warm-up included.
        utterances: that a step trained on, mean of the timed ones.
        audio: seconds of speech in them.
        inference: seconds in which ``inferred`` utterances were recognised in batches.
        inferred: utterances.
        latencies: seconds of one utterance alone, each.
        uar: on the test side after the training.
        peaks: of each rank, bytes above its baseline after import at the most.
        growth: of the rank that grows most, bytes a step after the timed ones; 0 where not watched.
        cores: processor seconds of all ranks over the seconds of the timed steps.
        busy: threads of all ranks that computed in them, whatever share of the cores they got.
        sent: bytes that the ranks sent in a step, by kind, together.
        shares: of each rank.
        flops: operations of a timed step, mean; of its padded batch, and without what checkpointing does again.
        joules: of the timed steps, where the machine tells.
        check: by part (``weights``, ``ema``, ``optimizer``, ``predictions``) the largest relative difference from
            one process after the same steps, and of which tensor; of one round alone, and not of one process.
        problem: why there is no sample; empty where there is one.
    """

    round: int
    steps: tuple[float, ...] = ()
    losses: tuple[float, ...] = ()
    utterances: float = 0.0
    audio: float = 0.0
    inference: float = 0.0
    inferred: int = 0
    latencies: tuple[float, ...] = ()
    uar: float = 0.0
    peaks: tuple[int, ...] = ()
    growth: float = 0.0
    cores: float = 0.0
    busy: int = 0
    sent: dict[str, float] = {}
    shares: tuple[RankShare, ...] = ()
    flops: float = 0.0
    joules: float | None = None
    check: dict[str, tuple[float, str]] = {}
    problem: str = ""


class Row(_Plain):
    """A job with its samples, and the idle share that its schedule is expected to have (None without a schedule)."""

    job: Job
    expected_bubble: float | None = None
    samples: tuple[Sample, ...] = ()


class Record(_Plain):
    """A benchmark, as it goes to ``records.json``.

    Attributes:
        version: of this record's form.
        suite: its name.
        command: that was typed.
        environment: machine, versions, git revision, cores.
        settings: of the training, resolved.
        data: what was trained on, in words.
        device: ``cpu`` or ``cuda``.
        peak: operations a second of the best matrix kernel in the training's precision, on one core or one GPU; 0
            where it was not measured.
        rows: what was measured.
    """

    version: Literal[1] = VERSION
    suite: str
    command: str
    environment: dict[str, Any]
    settings: dict[str, Any]
    data: str
    device: str = "cpu"
    peak: float = 0.0
    rows: tuple[Row, ...] = ()

    def with_sample(self, name: str, sample: Sample) -> Record:
        """The record with a further sample of a row."""
        rows = tuple(
            row.model_copy(update={"samples": (*row.samples, sample)}) if row.job.name == name else row
            for row in self.rows
        )
        return self.model_copy(update={"rows": rows})

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_text(path, self.model_dump_json(indent=1) + "\n")


def read(path: Path) -> Record:
    """Read a record of this version or of an earlier one.

    Raises:
        UserError: there is none, or it is of a later version or damaged.
    """
    try:
        return Record.model_validate_json(plain(path).read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no benchmark record: it is not a text in UTF-8.") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path} is no benchmark record of version {VERSION}: {where}: {first['msg']}.") from error
