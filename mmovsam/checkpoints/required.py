"""The files of weights that a config needs, and how to get them."""

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


def weight_files(cfg: Mapping, training: bool) -> list[tuple[str, str]]:
    """The local files of weights and prompts that a run of a config reads, with remedies.

    They are for `mmovsam.datasets.check_files`. Initial weights (`init_cfg`) are read in training,
    and in tests without `load_from`. Addresses such as `mmovsam://NAME` are left out.
    """
    model = cfg['model']
    if training or not cfg.get('load_from'):
        names = list(_checkpoints(model))
    else:
        names = list(_checkpoints([model.get('classifier'), model.get('prompter')]))
    names += [cfg.get('load_from'), (model.get('prompter') or {}).get('file')]
    return [
        (name, next((text for pattern, text in _REMEDIES if re.search(pattern, name)), _DEFAULT))
        for name in dict.fromkeys(names)
        if name and '://' not in name
    ]


def _checkpoints(node) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ('checkpoint', 'classifier') and isinstance(value, str):
                if key == 'checkpoint' or Path(value).suffix:  # others are vocabularies
                    yield value
            elif key != 'text_encoder':  # is read only if a vocabulary has to be built
                yield from _checkpoints(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from _checkpoints(value)
