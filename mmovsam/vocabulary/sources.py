"""Metainfo of named vocabularies such as `imagenet22k`, and of datasets."""

from __future__ import annotations

import difflib
import inspect
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from .names import split_name
from .wordnet import read_lvis, read_synsets

_PASCAL_CONTEXT_FILE = Path(__file__).with_name('pascal_context.txt')


def _registered_metainfo(name: str) -> dict:
    from mmdet.registry import DATASETS

    return DATASETS.get(name).METAINFO


def _coco() -> dict:
    classes = _registered_metainfo('CocoDataset')['classes']
    split = _registered_metainfo('OVCocoDataset')
    novel = dict(zip(split['classes'], split['novel']))
    return dict(classes=classes, novel=tuple(novel.get(name) for name in classes))


def _lvis() -> dict:
    # as in the annotation files; MMDetection's list spells one name differently
    classes, frequencies, synonyms, _ = zip(*read_lvis())
    novel = tuple(frequency == 'r' for frequency in frequencies)
    return dict(classes=classes, novel=novel, synonyms=tuple(map(tuple, synonyms)))


def _imagenet(subset: str) -> dict:
    synsets = list(read_synsets(subset))
    synonyms = [split_name(synset.names) for synset in synsets]
    uses, classes, prompts = Counter(synonyms), [], {}
    for synset, names in zip(synsets, synonyms):
        name = synset.names
        if uses[names] > 1:
            # a crane is a bird or a machine: only WordNet's definition tells which
            name = f'{name} ({synset.wnid})'
            prompts[name] = [f'a photo of a {noun}, {synset.definition}' for noun in names]
        classes.append(name)
    wnids = tuple(synset.wnid for synset in synsets)
    return dict(classes=classes, synonyms=synonyms, prompts=prompts, synsets=wnids)


def _ade20k() -> dict:
    classes = _registered_metainfo('ADE20KSegDataset')['classes']
    return dict(classes=tuple(map(str.strip, classes)))


def _pascal_context() -> dict:
    # in the order of the values in label maps, which begin at 1
    return dict(classes=tuple(_PASCAL_CONTEXT_FILE.read_text(encoding='utf-8').splitlines()))


WORDS = {
    'ade20k': _ade20k,
    'coco': _coco,
    'lvis': _lvis,
    'pascal_context': _pascal_context,
    'imagenet1k': partial(_imagenet, 'imagenet1k'),
    'imagenet22k': partial(_imagenet, 'imagenet22k'),
}


def read_metainfo(source: object) -> Mapping:
    """Metainfo of a key of `WORDS` or of a dataset: its registered name, its class, or a built one.

    It has `classes`, and where known `novel`, `synonyms`, `prompts` and ImageNet's `synsets`.

    Raises:
        ValueError: The name is unknown, or the classes are in an annotation file.
        TypeError: `source` is none of these.
    """
    if isinstance(source, str) and source in WORDS:
        return WORDS[source]()
    dataset = _registered_dataset(source) if isinstance(source, str) else source
    is_class = inspect.isclass(dataset)
    metainfo = getattr(dataset, 'METAINFO' if is_class else 'metainfo', None)
    if not isinstance(metainfo, Mapping):
        raise TypeError(
            'a vocabulary comes from a list of names, a text file, a word such as '
            f"'imagenet22k', or a dataset, not from {source!r}"
        )
    if is_class and not metainfo.get('classes'):
        raise ValueError(
            f'the classes of {dataset.__name__} are in its annotation file: give the built dataset '
            '(tools/build_vocabulary.py takes its config)'
        )
    return metainfo


def _registered_dataset(name: str) -> type:
    from mmdet.registry import DATASETS

    dataset = DATASETS.get(name) if name.isidentifier() else None
    if dataset is not None:
        return dataset
    datasets = [key for key in DATASETS.module_dict if key.endswith('Dataset')]
    close = difflib.get_close_matches(name, [*WORDS, *datasets], n=3)
    hint = f' Did you mean {", ".join(map(repr, close))}?' if close else ''
    raise ValueError(
        f'there is no vocabulary {name!r}: it is none of the words {", ".join(WORDS)}, no text '
        f'file (the working folder is {Path.cwd()}) and no registered dataset.{hint}'
    )
