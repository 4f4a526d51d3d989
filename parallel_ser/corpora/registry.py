"""Corpora by name. A new corpus is one module with ``read(root) -> Corpus`` and one line here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from parallel_ser.corpora import crema_d, emodb, iemocap, manifest, ravdess, tess
from parallel_ser.corpora.base import Corpus
from parallel_ser.corpora.labels import align, apply
from parallel_ser.corpora.settings import CorpusSettings
from parallel_ser.errors import UserError

READERS: Mapping[str, Callable[[Path], Corpus]] = MappingProxyType(
    {
        "ravdess": ravdess.read,
        "tess": tess.read,
        "emodb": emodb.read,
        "crema_d": crema_d.read,
        "iemocap": iemocap.read,
        "manifest": manifest.read,
    }
)


def load(settings: CorpusSettings, jobs: int | None = None) -> Corpus:
    """Read the corpus that the settings name and bring its labels under their map.

    Args:
        settings: which corpus, where it lies, which labels.
        jobs: processes that render the built-in corpus where it is not cached; all cores when None.

    Raises:
        UserError: the corpus is not where the settings say, or its labels do not fit the map.
    """
    return apply(_read(settings, jobs), settings.labels)


def load_pair(
    corpus: CorpusSettings, test: CorpusSettings | None, jobs: int | None = None
) -> tuple[Corpus, Corpus | None]:
    """The corpus trained on and, where there is one, the corpus tested on under the first one's names of emotions.

    Raises:
        UserError: as for ``load``.
    """
    learnt = load(corpus, jobs)
    return learnt, align(load(test, jobs), learnt.classes) if test else None


def _read(settings: CorpusSettings, jobs: int | None) -> Corpus:
    if settings.name == "synthetic":
        from parallel_ser.corpora import synthetic  # renders audio, so it alone needs numpy and soundfile

        return synthetic.make(settings.synthetic, settings.root, jobs)
    if settings.root is None:
        raise UserError(f"corpus.name={settings.name} needs corpus.root, the folder of its recordings.")
    return READERS[settings.name](settings.root)
