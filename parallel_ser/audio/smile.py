"""openSMILE's sets of functionals, by the package ``opensmile``: an extra, for research only by its licence.

eGeMAPS v02 (88 values; Eyben et al. 2016) and ComParE 2016 (6,373 values; Schuller et al. 2016).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from parallel_ser.audio.settings import AudioSettings
from parallel_ser.audio.vector import VectorExtractor
from parallel_ser.errors import UserError

SmileSet = Literal["egemaps", "compare"]

NOTICE = "openSMILE is licensed for non-commercial research alone (audEERING GmbH)"

_SETS = {"egemaps": "eGeMAPSv02", "compare": "ComParE_2016"}


class SmileExtractor(VectorExtractor):
    """An openSMILE set of the preprocessed signal, one vector an utterance.

    Attributes:
        names: as openSMILE has them.
        key: hash of all that decides the values.

    Raises:
        UserError: the package is missing.
    """

    def __init__(self, audio: AudioSettings, which: SmileSet):
        self.audio, self.which = audio, which
        smile = _smile(which)
        self.names: list[str] = list(smile.feature_names)
        described = f"opensmile {smile.config_name} {_version()}\n{which}\n{audio.model_dump_json()}"
        self.key = hashlib.blake2b(described.encode(), digest_size=16).hexdigest()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """Each process builds its own; openSMILE's object does not travel."""
        return SmileExtractor, (self.audio, self.which)

    def values(self, signal: np.ndarray) -> np.ndarray:
        """See ``VectorExtractor``; what cannot be measured is 0."""
        values = _smile(self.which).process_signal(signal, self.audio.sample_rate).to_numpy()[0]
        return np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)


@lru_cache(maxsize=2)
def _smile(which: SmileSet) -> Any:
    """openSMILE's object for a set; making one costs more than a file, so a process keeps it."""
    try:
        import opensmile
    except ImportError as error:
        raise UserError(
            f"classical.views={which} needs the package opensmile: pip install 'parallel-ser[opensmile]' "
            f"({NOTICE}), or use classical.views=[functionals]."
        ) from error
    smile = opensmile.Smile(
        feature_set=opensmile.FeatureSet[_SETS[which]], feature_level=opensmile.FeatureLevel.Functionals, num_workers=1
    )
    return smile


def _version() -> str:
    from importlib.metadata import version

    return version("opensmile")
