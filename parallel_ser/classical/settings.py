"""Settings of the classical systems and of their search."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from parallel_ser.audio.settings import EncoderSettings, ImageSettings, Stream
from parallel_ser.settings import Settings

SystemName = Literal["svm", "elm", "logistic", "gmm"]
ViewName = Literal["functionals", "correlations", "egemaps", "compare", "encoder", "image", "supervector", "fisher"]


class MixtureSettings(Settings):
    """Gaussian mixtures of frames.

    ``streams``: of ``features.streams``, those whose rows are taken, with Δ and ΔΔ.
    ``sizes``: components of the background model that ``choose`` picks from.
    ``covariances``: those that it picks from.
    ``choose``: by BIC, or by the likelihood of held-out frames.
    ``adapt``: an emotion's model is the background model adapted to its frames (``map``), or a mixture of its own
    (``none``).
    ``relevance``: frames at which an adapted mean has moved half way.
    """

    streams: tuple[Stream, ...] = Field(("mfcc", "pitch", "voicing", "intensity"), min_length=1)
    sizes: tuple[int, ...] = Field((128,), min_length=1)
    covariances: tuple[Literal["diag", "full"], ...] = Field(("diag",), min_length=1)
    choose: Literal["bic", "likelihood"] = "likelihood"
    adapt: Literal["map", "none"] = "map"
    relevance: float = Field(8.0, gt=0.0)


class SearchSettings(Settings):
    """What is tried, every combination of it, inside the training speakers alone.

    ``folds``: of the training side, by the protocol's own rule.
    ``cost``: of an error.
    ``kernel``: of the vectors.
    ``width``: of the kernel ``rbf``, in medians of the squared distance.
    ``keep``: values with the highest F statistic that stay, 0 all.
    ``pca``: components, 0 none.
    ``nuisance``: directions between speakers that are projected out.
    """

    folds: int = Field(5, ge=2, le=50)
    cost: tuple[float, ...] = Field((1.0, 3.0, 10.0), min_length=1)
    kernel: tuple[Literal["rbf", "linear"], ...] = Field(("rbf",), min_length=1)
    width: tuple[float, ...] = Field((1.0, 2.0, 4.0), min_length=1)
    keep: tuple[int, ...] = Field((1000, 2000), min_length=1)
    pca: tuple[int, ...] = Field((0,), min_length=1)
    nuisance: tuple[int, ...] = Field((0,), min_length=1)


class ClassicalSettings(Settings):
    """A system without a neural network.

    ``system``: ``svm``, ``elm`` (kernel extreme learning machine), ``logistic``, all on the sum of the views' kernels,
    or ``gmm`` (decision by likelihood, on frames).
    ``views``: of a kernel system, and of a network with ``model.options.vectors``; ``functionals`` and ``correlations``
    are of contours, ``egemaps`` and ``compare`` need the package opensmile, ``encoder`` a pretrained speech encoder's
    weights, ``image`` those of a network for pictures, ``supervector`` and ``fisher`` are made of a background mixture.
    ``normalise``: whose statistics standardise: nobody's, the training speakers', ``speaker`` (transductive: the tested
    speaker's unlabelled utterances) or ``enrol`` (other utterances of the tested speaker).
    ``enrol``: how many those are.
    ``self_training``: of ``elm`` by ``speaker``, how much each utterance of the tested speaker weighs, in recordings of
    training, when the machine is fitted again with what it takes them for; 0 is off.
    ``encoder``: of the view of that name.
    ``mixture``: of ``gmm``, ``supervector`` and ``fisher``.
    ``image``: of the view of that name.
    ``search``: what is tried.
    ``calibrate``: the probabilities, on the training speakers' held-out scores.
    ``seed``: of mixtures and draws.
    ``backend``: of joblib.
    ``scheduler``: of ``dask``, the address of a cluster; nothing is one of this machine's own.
    """

    system: SystemName = "svm"
    views: tuple[ViewName, ...] = Field(("functionals",), min_length=1)
    normalise: Literal["none", "train", "speaker", "enrol"] = "train"
    enrol: int = Field(10, ge=1, le=1000)
    self_training: float = Field(0.0, ge=0.0, le=1.0)
    encoder: EncoderSettings = EncoderSettings()
    mixture: MixtureSettings = MixtureSettings()
    image: ImageSettings = ImageSettings()
    search: SearchSettings = SearchSettings()
    calibrate: Literal["temperature", "isotonic", "none"] = "temperature"
    seed: int = Field(0, ge=0, lt=2**32)
    backend: Literal["loky", "dask"] = "loky"
    scheduler: str | None = None

    @model_validator(mode="after")
    def _combination(self) -> ClassicalSettings:
        if len(set(self.views)) != len(self.views):
            raise ValueError("classical.views names a view twice")
        if self.scheduler and self.backend != "dask":
            raise ValueError("classical.scheduler belongs to classical.backend=dask")
        if self.self_training and (self.system, self.normalise) != ("elm", "speaker"):
            raise ValueError(
                "classical.self_training fits least squares again with the tested speaker's utterances: it belongs to "
                f"the system elm and classical.normalise=speaker, not to {self.system} and {self.normalise}"
            )
        if "fisher" in self.views and "full" in self.mixture.covariances and self.system != "gmm":
            raise ValueError(
                "classical.views=fisher needs diagonal covariances: use classical.mixture.covariances=[diag]"
            )
        return self
