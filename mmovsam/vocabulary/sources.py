"""Where lists of classes come from: words such as `imagenet22k`, and datasets."""

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


def _registered(name: str):
    from mmdet.registry import DATASETS

    return DATASETS.get(name)


def _coco() -> dict:
    classes = _registered('CocoDataset').METAINFO['classes']
    split = _registered('OVCocoDataset').METAINFO
    novel = dict(zip(split['classes'], split['novel']))
    return dict(classes=classes, novel=tuple(novel.get(name) for name in classes))


def _lvis() -> dict:
    # As an annotation file has them: one name is spelled otherwise in MMDetection's list.
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
            # A crane is a bird or a machine: only WordNet's definition tells which.
            name = f'{name} ({synset.wnid})'
            prompts[name] = [f'a photo of a {noun}, {synset.definition}' for noun in names]
        classes.append(name)
    wnids = tuple(synset.wnid for synset in synsets)
    return dict(classes=classes, synonyms=synonyms, prompts=prompts, synsets=wnids)


def _ade20k() -> dict:
    classes = _registered('ADE20KSegDataset').METAINFO['classes']
    return dict(classes=tuple(name.strip() for name in classes))


def _pascal_context() -> dict:
    # in the order of the values of its label maps, which begin at 1
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
    """The classes of a key of `WORDS` or of a dataset: its name, its class, or a built one.

    It has `classes`, and where they are known `novel`, `synonyms`, `prompts` and ImageNet's
    `synsets`. Unknown words, and the classes of a dataset that are in its annotation file only, are
    a `ValueError`, things of another kind a `TypeError`.
    """
    if isinstance(source, str) and source in WORDS:
        return WORDS[source]()
    dataset = _dataset(source) if isinstance(source, str) else source
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


def _dataset(name: str) -> type:
    from mmdet.registry import DATASETS

    dataset = DATASETS.get(name) if name.isidentifier() else None
    if dataset is not None:
        return dataset
    datasets = [known for known in DATASETS.module_dict if known.endswith('Dataset')]
    close = difflib.get_close_matches(name, [*WORDS, *datasets], n=3)
    hint = f' Did you mean {", ".join(map(repr, close))}?' if close else ''
    raise ValueError(
        f'there is no vocabulary {name!r}: it is none of the words {", ".join(WORDS)}, no text '
        f'file (the working folder is {Path.cwd()}) and no registered dataset.{hint}'
    )
