"""Which files a model's config needs besides data, and how to get each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_REMEDIES = (
    (
        r'sam_vit_',
        "SAM's weights: https://github.com/facebookresearch/segment-anything links to them, and "
        'configs take their address in place of a file (docs/model_zoo.md).',
    ),
    (
        r'sam2clip',
        'The SAM2CLIP adapter: configs/sam2clip_rn50x16.py trains it, and configs/towers/sam2clip_'
        '*.py on other towers; the released one is hf://HarborYuan/ovsam_models/'
        'sam2clip_vith_rn50x16.pth (docs/model_zoo.md).',
    ),
    (
        r'vocabulary',
        'A text classifier: python tools/build_vocabulary.py CONFIG FILE builds it; lvis, coco, or '
        'a text file of names in its place is built at first use (docs/model_zoo.md).',
    ),
    (
        r'clip_',
        "CLIP's weights: open_clip fetches them, --cfg-options "
        'model.backbone.init_cfg.checkpoint=open_clip://RN50x16:openai (docs/model_zoo.md).',
    ),
)
_DEFAULT = 'Correct its path in the config.'


def _checkpoints(node) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ('checkpoint', 'classifier') and isinstance(value, str):
                if key == 'checkpoint' or Path(value).suffix:  # others are words: they name classes
                    yield value
            elif key == 'text_encoder':
                continue  # read where a vocabulary is built, if it has to be
            else:
                yield from _checkpoints(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _checkpoints(value)


def weight_files(cfg: Mapping, training: bool) -> list[tuple[str, str]]:
    """The local files, of weights and of proposals, that a run of a config will read.

    They come with remedies, as `mmovsam.datasets.check_files` takes them. Initial weights
    (`init_cfg`) are read in training; a test reads `load_from`, and them only without it. Addresses
    such as `mmovsam://NAME` are left out: their loaders report them.
    """
    model = cfg['model']
    if training or not cfg.get('load_from'):
        names = list(_checkpoints(model))
    else:
        parts = [model.get(key) or {} for key in ('classifier', 'prompter')]
        names = [name for part in parts for name in _checkpoints(part)]
    names += [cfg.get('load_from'), (model.get('prompter') or {}).get('file')]
    return [
        (name, next((text for pattern, text in _REMEDIES if re.search(pattern, name)), _DEFAULT))
        for name in dict.fromkeys(names)
        if name and '://' not in name
    ]
