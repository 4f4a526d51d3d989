"""Training one fold under a strategy: steps, epochs, selection, checkpoints."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from parallel_ser.config import Config
from parallel_ser.corpora.protocols import Fold
from parallel_ser.errors import UserError
from parallel_ser.models.batch import Inputs
from parallel_ser.models.chain import Chain
from parallel_ser.models.encoder.weights import pretrained_names
from parallel_ser.models.registry import outline
from parallel_ser.parallel.comm.context import ProcessContext, peak_memory
from parallel_ser.parallel.comm.dims import ParallelDims
from parallel_ser.parallel.cost.rebalance import Left, described
from parallel_ser.parallel.engine.strategy import Strategy
from parallel_ser.parallel.settings import layout, stage_ranks
from parallel_ser.system import digests
from parallel_ser.system.files import SameFolder
from parallel_ser.training import checkpoint, metrics, model_file, pretrained, standing, transfer
from parallel_ser.training.balance import Balance
from parallel_ser.training.batches import Training, Views, probabilities, typical_frames
from parallel_ser.training.data import Dataset
from parallel_ser.training.encoder_view import encoder_digest, extractor_of
from parallel_ser.training.interrupts import Request, Stopped
from parallel_ser.training.network_inputs import NetworkInputs
from parallel_ser.training.optim import freeze, learning_rate
from parallel_ser.training.predictions import Predictions
from parallel_ser.training.preprocessor import Preprocessor
from parallel_ser.training.start import started
from parallel_ser.training.tracing import Tracer
from parallel_ser.training.watch import Epoch, Plan, Watch


class _Asked(Exception):
    """A stop was asked for during a pass that trains nothing."""


@dataclass
class Progress:
    """Where a fold's training stands; everything random follows from it and the seed.

    Attributes:
        epoch: the one in work, from 0.
        step: steps done in it.
        losses: of those steps.
        seconds: spent in them.
        best: highest selection UAR so far.
        best_epoch: where it was reached, from 1; 0 is nowhere yet.
        history: a row per finished epoch.
        cuts: of the stages, once blocks have moved.
        left: the cuts before, and how slow each rank was then.
    """

    epoch: int = 0
    step: int = 0
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    best: float = -1.0
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    left: list[list[list[float]]] = field(default_factory=list)


class Trainer:
    """One fold of a run, on every rank alike; the first rank alone writes."""

    def __init__(
        self,
        config: Config,
        data: Dataset,
        fold: Fold,
        mesh: ProcessContext,
        folder: Path,
        request: Request,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config, self.data, self.fold, self.mesh, self.folder = config, data, fold, mesh, folder
        self.request, self.home = request, SameFolder(folder.parent)
        settings = config.train
        side = data.take(fold.train)
        self.preprocessor = mesh.rank0_first(lambda: Preprocessor.fit(config, side), share=True)
        self.training = Training(
            self.preprocessor(side),
            [data.label(index) for index in fold.train],
            len(data.classes),
            data.bands,
            settings,
            config.features.hop,
            self.preprocessor.normaliser.mean if settings.normalise == "none" else None,
            [self.preprocessor(copy) for copy in side.copies],
        )
        self.typical, self.dtype = typical_frames([one.shape[1] for one in self.training.frames]), dtype
        self.began: Mapping[str, Any] | None = None
        initial = self._initial if config.model.weights or config.model.beside.word_vectors else None
        began = time.perf_counter()
        self.strategy = self._started(self._kept_cuts(), initial)
        self.starting, self.saving = time.perf_counter() - began, 0.0
        self.seen = transfer.sides(data, fold, self.began and self.began["seen"])
        self.signature = self.strategy.signature
        self.progress = Progress()
        staged = len(self.strategy.stages.ranks) > 1
        self.balance = Balance(self.strategy) if config.strategy.rebalance and staged else None

    def _initial(self, chain: Chain) -> Mapping[str, Tensor]:
        """The weights of another run to begin with, or the words' vectors; none where training goes on."""
        if not self.config.model.weights:
            extras = self.preprocessor.extras
            table = dict(chain.named_parameters())[extras.beside.table]
            return self.mesh.rank0_first(lambda: extras.initial(table), share=True)
        path = self.folder / transfer.FILE

        def read() -> transfer.Initial:
            if self.config.run.resume and standing.newest(self.last):
                return transfer.Initial({}, digests.read_json(path))
            found = transfer.initial(self.config, chain, self.data, self.fold)
            digests.write_json(path, found.record)
            return found

        found = self.mesh.rank0_first(read, share=True)
        self.began = found.record
        return pretrained.read(found.file, chain, self.config.model) if found.file else found.weights

    def _started(
        self,
        cuts: Sequence[int],
        initial: Callable[[Chain], Mapping[str, Tensor]] | None = None,
        dims: ParallelDims | None = None,
    ) -> Strategy:
        """The strategy with stages that are cut so; as the settings say where no cuts are given."""
        config, data = self.config, self.data
        if cuts:
            config = config.model_copy(update={"strategy": config.strategy.model_copy(update={"stages": tuple(cuts)})})
        return started(config, len(data.rows), len(data.classes), self.typical, self.mesh, self.dtype, initial, dims)

    def _kept_cuts(self) -> list[int]:
        """Where the run that goes on had cut last, if it still has as many stages."""
        settings = self.config.strategy
        if not (self.config.run.resume and settings.rebalance):
            return []

        def read() -> list[int]:
            path = standing.newest(self.last)
            said = path and digests.cached_json(path / standing.INFO)
            cuts: list[int] = said["progress"].get("cuts", []) if said else []
            return cuts

        cuts = self.mesh.rank0_first(read, share=True)
        stages = len(stage_ranks(settings, layout(settings, self.mesh.size).pipeline))
        return cuts if len(cuts) == stages - 1 else []

    def inputs(self, indices: tuple[int, ...]) -> NetworkInputs:
        """Utterances as the network sees them."""
        return self.preprocessor(self.data.take(indices))

    @property
    def last(self) -> Path:
        """The folder of the checkpoint that training goes on from."""
        return self.folder / "last"

    @property
    def model(self) -> Path:
        """The model that the fold keeps."""
        return self.folder / "model.pt"

    @cached_property
    def _left_out(self) -> tuple[model_file.Base | None, set[str]]:
        """Pretrained weights that the kept model only names, and which of all names they have."""
        config, began = self.config, self.began
        if not began or not began.get("pretrained") or config.train.store == "whole":
            return None, set()
        chain = outline(config.model, len(self.data.rows), len(self.data.classes))
        freeze(chain, config.train.freeze)
        trained = {name for name, parameter in chain.named_parameters() if parameter.requires_grad}
        names = pretrained_names(self.signature) - trained
        given = config.model.weights
        assert given is not None
        weights = began["path"] if given.suffix else given.name
        base = model_file.Base(config.model.name, config.model.size, weights, began["file_digest"])
        return (base, names) if names else (None, names)

    @cached_property
    def _encoder(self) -> str:
        """See ``encoder_digest``."""
        return encoder_digest(extractor_of(self.config.audio, self.config.features))

    @property
    def first_step(self) -> int:
        """Steps that are done already."""
        return self.progress.epoch * len(self.training) + self.progress.step

    def resume(self) -> None:
        """Go on from the last checkpoint, where there is one, made under whatever strategy."""
        info = self._load()
        if info is None:
            return
        self.progress = Progress(**info["progress"])
        if self.progress.cuts != list(self.strategy.stages.cuts):
            self.progress.cuts, self.progress.left = [], []

    def _load(self) -> dict[str, Any] | None:
        """Give the strategy the last checkpoint, where there is one; what it says of itself."""
        path = standing.newest(self.last)
        if path is None:
            return None
        info: dict[str, Any] = self.mesh.rank0_first(lambda: standing.info(path, self.signature))
        standing.load(path, self.strategy, info, self.mesh)
        return info

    def save(self) -> None:
        """Write where training stands."""
        began = time.perf_counter()
        self.mesh.rank0_only(self.home.require)
        standing.save(self.last, self.first_step, self.strategy, asdict(self.progress), self.mesh)
        self.saving = max(self.saving, time.perf_counter() - began)

    def train(self, watch: Watch, trace: bool = False) -> dict[str, Any] | None:
        """Train to the last epoch, or until the selection UAR has not risen for ``patience`` epochs.

        With ``trace`` a few steps are traced; the first rank returns where they went, as ``report`` tells it.

        Raises:
            Stopped: a signal asked for it; where training stands is saved.
        """
        settings, progress = self.config.train, self.progress
        steps = len(self.training)
        selection = self.inputs(self.fold.select)
        utterances = len(self.training.frames)
        watch.start(Plan(steps, settings.epochs, utterances, progress.epoch, progress.step, progress.history))
        tracer = self._tracer(settings.epochs * steps - self.first_step) if trace else None
        while progress.epoch < settings.epochs and not self._patience_is_out():
            batches = self.training.batches(progress.epoch, progress.step, self.strategy.reads_inputs)
            for step in range(progress.step, steps):
                began = time.perf_counter()
                done = progress.epoch * steps + step
                self.strategy.set_learning_rate(learning_rate(done, settings.epochs * steps, settings))
                with tracer.batch() if tracer else nullcontext():
                    batch = next(batches)
                measured = self.balance.step(self.strategy.stats, steps - step - 1) if self.balance else nullcontext()
                with measured:
                    loss = self.strategy.train_step(batch.inputs, batch.targets)
                if tracer:
                    tracer.done()
                if not math.isfinite(loss):  # the same on every rank
                    self.mesh.rank0_first(self._diverged)
                progress.losses.append(loss)
                progress.seconds += time.perf_counter() - began
                progress.step = step + 1
                watch.step(loss)
                if self.mesh.any_rank(self.request.signal != 0):
                    self._stop(steps)
                if (done + 1) % settings.checkpoint_every == 0:
                    self.save()
            try:
                self._finish_epoch(selection, watch)
            except _Asked:  # the epoch's steps are done, its selection begins anew
                self._stop(steps)
            if self.balance and progress.epoch < settings.epochs and not self._patience_is_out():
                self._rebalance(self.balance, watch)
        self.save()
        return tracer.record if tracer else None

    def _tracer(self, steps: int) -> Tracer:
        """What traces the first of the ``steps`` steps that are left."""
        return Tracer(self.strategy.stats, self.config.strategy, self.mesh, self.folder / "trace.json", steps)

    def _rebalance(self, balance: Balance, watch: Watch) -> None:
        """Move blocks between stages where that pays: stop, and go on from the checkpoint with another cut."""
        progress, stages = self.progress, self.strategy.stages
        if not self.saving:  # a move takes a checkpoint written, one read, and a start
            self.save()
        left = [Left(tuple(map(int, cuts)), tuple(slowness)) for cuts, slowness in progress.left]
        steps = (self.config.train.epochs - progress.epoch) * len(self.training)
        move = balance.decided(self.strategy, steps, 2 * self.saving + self.starting, left)
        if move is None:
            return
        progress.left.append([list(stages.cuts), list(move.slowness)])
        progress.cuts = list(move.cuts)
        self.save()
        dims, line = self.strategy.dims, described(move, stages.cuts, len(stages.blocks))
        del self.strategy, stages
        gc.collect()  # torch's pipelines hold what they hold in circles
        self.strategy = self._started(move.cuts, dims=dims)
        self._load()
        watch.told(line)

    def _stop(self, steps: int) -> NoReturn:
        self.save()
        raise Stopped(f"epoch {self.progress.epoch + 1}, step {self.progress.step} of {steps}")

    def _diverged(self) -> None:
        """Stop before weights that are lost are kept; the last checkpoint is from before."""
        progress = self.progress
        raise UserError(
            f"the loss is not finite at epoch {progress.epoch + 1}, step {progress.step + 1}: training has diverged; "
            f"lower train.learning_rate={self.config.train.learning_rate:g}."
        )

    def _predict(self, inputs: Inputs) -> Tensor:
        """The strategy's, unless a stop was asked for: a pass over many utterances can take longer than the grace."""
        if self.mesh.any_rank(self.request.signal != 0):
            raise _Asked
        return self.strategy.predict(inputs)

    def _patience_is_out(self) -> bool:
        patience = self.config.train.patience
        return patience > 0 and self.progress.epoch - max(0, self.progress.best_epoch) >= patience

    def _finish_epoch(self, selection: NetworkInputs, watch: Watch) -> None:
        progress, settings = self.progress, self.config.train
        began = time.perf_counter()
        with self.strategy.state.ema_weights():
            predicted = probabilities(self._predict, selection, settings.batch).argmax(1)
            truth = np.array([self.data.label(index) for index in self.fold.select])
            confusion = metrics.confusion_matrix(truth, predicted, len(self.data.classes))
            uar = float(metrics.uar(confusion))
            kept = settings.keep == "last" or uar > progress.best
            if kept:
                weights = self.strategy.state.weights()
                base, names = self._left_out
                self.mesh.rank0_only(self.home.require)
                self.mesh.rank0_only(
                    lambda: model_file.save(
                        self.model,
                        self.signature,
                        {name: value for name, value in weights.items() if name not in names},
                        self.data.classes,
                        self.preprocessor,
                        self.seen,
                        base,
                        self._encoder,
                    )
                )
        if uar > progress.best:
            progress.best, progress.best_epoch = uar, progress.epoch + 1
        steps = len(self.training)
        row = Epoch(
            epoch=progress.epoch + 1,
            loss=float(np.mean(progress.losses)),
            select_uar=uar,
            select_wa=float(metrics.wa(confusion)),
            lr=learning_rate(progress.epoch * steps + steps - 1, settings.epochs * steps, settings),
            seconds=progress.seconds + time.perf_counter() - began,
            memory=max(self.mesh.gather(peak_memory(self.mesh.device)), default=0),
        )
        progress.history.append(asdict(row))
        progress.epoch, progress.step, progress.losses, progress.seconds = progress.epoch + 1, 0, [], 0.0
        watch.epoch(row, kept and settings.keep == "best")

    def test(self) -> Predictions:
        """Predictions of the kept model on the fold's test side, by the strategy, the same on every rank.

        Raises:
            UserError: the model's file is gone or damaged.
            Stopped: a signal asked for it; the trained fold is saved already.
        """
        self.strategy.state.load_weights(self.mesh.rank0_first(self._kept_weights, share=True))
        settings = self.config.train
        views = Views(settings.views, settings.warp, self.data.bands)
        versions = map(self.preprocessor, self.data.take(self.fold.test).answered(settings.tta_copies))
        try:
            rows = views.mean(lambda inputs: probabilities(self._predict, inputs, settings.batch), versions)
        except _Asked:
            raise Stopped(f"the test of fold {self.fold.index}") from None
        return self.mesh.rank0_first(lambda: self.data.said(self.fold.test, self.fold.index, rows))

    def _kept_weights(self) -> dict[str, Tensor]:
        content = checkpoint.load(self.model)
        checkpoint.fits(self.model, content, self.signature)
        weights: dict[str, Tensor] = content["weights"]
        return weights
