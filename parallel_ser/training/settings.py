"""Settings of the trainer and of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from parallel_ser.settings import Settings


class TrainSettings(Settings):
    """Optimisation, regularisation and what a step runs on.

    ``epochs``: times that all training utterances are seen, at the most.
    ``batch``: utterances a step, over all ranks.
    ``learning_rate``: of AdamW, at its highest.
    ``weight_decay``: of AdamW.
    ``rates``: times the learning rate, by the start of a parameter's name (the longest that fits holds).
    ``layer_decay``: times the learning rate for each block of the chain that stands behind a block.
    ``freeze``: starts of the names of parameters that are not trained.
    ``warmup``: share of the steps over which the learning rate rises.
    ``label_smoothing``: share of the target that is spread over all emotions.
    ``class_weights``: ``balanced`` weighs each emotion's share of the loss by utterances / (emotions x its utterances).
    ``clip_norm``: the most that the norm of all gradients may be.
    ``mixup``: parameter of the beta distribution, 0 turns it off.
    ``spec_augment``: mask spans of frames and of frequencies; of a waveform silence spans of it.
    ``warp``: largest relative stretch of time, and half of it of frequency; of a waveform its speed. 0 turns it off.
    ``copies``: altered copies of each recording that training draws from, beside the recording, for features of frames:
    cut by up to 50 ms at each end, without what lies below 20 to 100 Hz, and changed by ``noise``, ``gain``, ``speed``,
    ``band``. A classical system learns from all of them; in a kernel machine a recording and its copies weigh as one.
    ``noise``: of a waveform, and of copies, the lowest signal-to-noise ratio of white noise that is added (dB, up to
    40); nothing turns it off.
    ``gain``: how much louder or softer a waveform, and copies, become at the most (dB), 0 turns it off.
    ``speed``: share by which copies last longer, and are lower, or shorter and higher, at the most: as another voice
    (Ko et al. 2015); 0 turns it off.
    ``band``: the lowest that the upper end of a copy's band may be (Hz); nothing leaves the band as it is.
    ``tta_copies``: altered copies of a recording that an answer is the mean of, beside the recording (test-time
    augmentation): of a network the mean of the probabilities, of a classical system of the scores. They are changed as
    ``copies`` are, every recording alike. Not of waveforms.
    ``crop``: seconds that a training step sees of a longer utterance, at a random place.
    ``views``: how many versions of an utterance an answer is the mean of; the first is the utterance itself, the
    others are warped as in training.
    ``ema``: decay of the weights' moving average, 0 turns it off.
    ``precision``: of what is computed; weights and optimizer stay ``fp32``.
    ``keep``: the model of the epoch with the best selection UAR, or the last.
    ``store``: of an encoder that began with a file of pretrained weights the kept model has what was ``trained`` and
    names the file, or is ``whole``.
    ``patience``: epochs without a better selection UAR before stopping, 0 never stops early.
    ``normalise``: what standardises the features: nothing, each utterance's, the training set's or (transductive)
    each speaker's own statistics.
    ``checkpoint_every``: in steps.
    ``threads``: of one rank, 0 shares the cores among the ranks.
    ``bind``: keep each rank to cores of its own.
    ``shared_memory``: pass messages on one machine's processors through memory, and not through sockets.
    ``peer_timeout``: seconds after which a process counts as lost that does not even say that it is there, 0 waits for
    ever.
    ``tune``: ``auto`` measures which number of micro-batches is fastest, and keeps it.
    ``seed``: of weights, order, dropout and augmentation.
    ``device``: ``auto`` takes GPUs where each rank has one of its own.
    """

    epochs: int = Field(40, ge=1, le=100_000)
    batch: int = Field(32, ge=1, le=65_536)
    learning_rate: float = Field(2e-3, gt=0.0, le=10.0)
    weight_decay: float = Field(0.05, ge=0.0, le=10.0)
    rates: dict[str, float] = Field(default_factory=dict)
    layer_decay: float = Field(1.0, gt=0.0, le=1.0)
    freeze: tuple[str, ...] = ()
    warmup: float = Field(0.1, ge=0.0, lt=1.0)
    label_smoothing: float = Field(0.1, ge=0.0, lt=1.0)
    class_weights: Literal["none", "balanced"] = "none"
    clip_norm: float = Field(10.0, gt=0.0, le=1e6)
    mixup: float = Field(0.0, ge=0.0, le=10.0)
    spec_augment: bool = True
    warp: float = Field(0.1, ge=0.0, le=0.5)
    copies: int = Field(0, ge=0, le=64)
    noise: float | None = Field(None, ge=-20.0, le=40.0)
    gain: float = Field(0.0, ge=0.0, le=40.0)
    speed: float = Field(0.0, ge=0.0, le=0.5)
    band: float | None = Field(None, ge=500.0, le=24_000.0)
    tta_copies: int = Field(0, ge=0, le=64)
    crop: float = Field(6.0, ge=0.5, le=60.0)
    views: int = Field(1, ge=1, le=64)
    ema: float = Field(0.0, ge=0.0, lt=1.0)
    precision: Literal["fp32", "bf16"] = "fp32"
    keep: Literal["best", "last"] = "best"
    store: Literal["trained", "whole"] = "trained"
    patience: int = Field(0, ge=0)
    normalise: Literal["none", "utterance", "train", "speaker"] = "train"
    checkpoint_every: int = Field(50, ge=1)
    threads: int = Field(0, ge=0, le=1024)
    bind: bool = False
    shared_memory: bool = True
    peer_timeout: float = Field(60.0, ge=0.0, le=86_400.0)
    tune: Literal["none", "auto"] = "none"
    seed: int = Field(0, ge=0, lt=2**32)
    device: Literal["auto", "cpu", "cuda"] = "auto"


class RunSettings(Settings):
    """Where a run keeps what it makes.

    ``folder``: of this run, by default ``runs/<date-time>-<corpus>-<model>-<strategy>``; one that exists is refused
    unless ``resume`` goes on.
    ``cache``: of the features, by default below ``~/.cache``.
    ``jobs``: processes that extract features, 0 means one a core.
    ``resume``: go on from the last checkpoint of ``folder``.
    ``trace``: write what every rank did in steps 3 to 5 of the first fold, and print where they went.
    """

    folder: Path | None = None
    cache: Path | None = None
    jobs: int = Field(0, ge=0, le=1024)
    resume: bool = False
    trace: bool = False
