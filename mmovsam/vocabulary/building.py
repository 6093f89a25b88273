"""Text classifiers from files, or built at first use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path

from filelock import FileLock
from mmengine.logging import print_log
from safetensors import SafetensorError

from ..checkpoints.fingerprint import hash_of
from ..checkpoints.loading import SUFFIXES
from ..devices import choose_device
from ..fileio import cache_folder
from .text_classifier import TextClassifier, load_classifier, save_classifier
from .text_encoder import is_tag, load_text_encoder
from .vocabulary import Vocabulary

_VERSION = 1  # part of the cache key: raise it when the same inputs give another classifier


def is_classifier_file(classifier: str | PathLike) -> bool:
    """Whether `classifier` names a classifier file, rather than a vocabulary to build one from."""
    return '://' in str(classifier) or Path(classifier).suffix in SUFFIXES


def find_classifier(
    classifier: str | PathLike, text_encoder: Mapping | None = None
) -> TextClassifier:
    """Load a text classifier, or build one from a vocabulary.

    Embeddings are cached on disk, see `mmovsam.vocabulary.encoding`. Of several processes that ask
    for the same classifier one builds it while the others wait.

    Args:
        classifier: A file for `load_classifier`, or a source for `Vocabulary.from_source`:
            `'lvis'`, `'coco'`, a text file, a registered dataset.
        text_encoder: Arguments of `load_text_encoder`; needed to build.
    """
    if is_classifier_file(classifier):
        return load_classifier(classifier)
    vocabulary = Vocabulary.from_source(classifier)
    if text_encoder is None or not text_encoder.get('checkpoint'):
        raise ValueError(
            f'The vocabulary {classifier} has to be built, and nothing says with which text tower: '
            'give model.classifier.text_encoder=dict(model=..., checkpoint=...), or a file of '
            'tools/build_vocabulary.py as model.classifier.classifier.'
        )
    key = hash_of([vars(vocabulary), dict(text_encoder), _VERSION])
    with _locked_cache(key) as folder:
        # weights in a file may change under the same path, those of a tag do not
        cacheable = is_tag(text_encoder.get('model'), text_encoder.get('checkpoint'))
        file = folder / f'{key}.safetensors' if folder and cacheable else None
        if file is not None and file.is_file():
            with contextlib.suppress(ValueError):  # damaged: built again
                return load_classifier(file)
        device = choose_device()
        print_log(
            f'The names of the vocabulary {classifier} ({len(vocabulary):,} classes) are read by '
            f'the text tower on {device}, unless the cache has them.',
            logger='current',
        )
        text_model, tokenizer = load_text_encoder(**text_encoder)
        built = vocabulary.build_classifier(text_model.to(device), tokenizer)
        if file is not None:
            with contextlib.suppress(OSError, SafetensorError):
                save_classifier(file, built)
        return built


@contextlib.contextmanager
def _locked_cache(key: str) -> Iterator[Path | None]:
    """Hold the lock of `key`; yields the folder of cached classifiers, None without a cache."""
    folder = cache_folder()
    with contextlib.ExitStack() as stack:
        try:
            if folder is not None:
                folder /= 'vocabularies'
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(FileLock(folder / f'{key}.lock'))
        except OSError:  # not writable: the cache of embeddings warns of it
            folder = None
        yield folder
