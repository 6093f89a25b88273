"""The named pretrained models."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

OVSAM_FILES = 'hf://HarborYuan/ovsam_models'  # the authors' release of Open-Vocabulary SAM
SAM_FILE = 'https://dl.fbaipublicfiles.com/segment_anything/sam_vit_h_4b8939.pth'
CLIP_FILE = 'open_clip://RN50x16:openai'


@dataclass(frozen=True)
class PretrainedModel:
    """A pretrained model.

    Args:
        name: Key in `MODELS`.
        config: Name of its config in the package.
        description: A short description.
        parameters: Number of parameters, without a text tower.
        sources: Addresses of the files to convert, by the keys of
            `mmovsam.checkpoints.released.FORMATS`; empty if the weights are in the package, at the
            config's `load_from`.
        licence: Of the weights.
    """

    name: str
    config: str
    description: str
    parameters: int
    sources: Mapping[str, str] = field(default_factory=dict)
    licence: str = 'Apache-2.0'


def _released(data: str) -> PretrainedModel:
    return PretrainedModel(
        name=f'ovsam-{data}-rn50x16',
        config=f'ovsam_{data}.py',
        description=f'released by the authors of OVSAM, trained on {data.upper()}; CLIP RN50x16',
        parameters=304_046_908,
        sources=dict(
            clip=CLIP_FILE,
            sam=f'{SAM_FILE}#prompt_encoder.',
            sam2clip=f'{OVSAM_FILES}/sam2clip_vith_rn50x16.pth',
            clip2sam=f'{OVSAM_FILES}/clip2sam_{data}_rn50x16.pth',
        ),
        licence='NTU S-Lab 1.0, non-commercial (CLIP: MIT, SAM: Apache-2.0)',
    )


MODELS: dict[str, PretrainedModel] = {
    model.name: model
    for model in (
        PretrainedModel(
            name='ovsam-photo',
            config='photo/ovsam_photo.py',
            description='small model for photographs, in the package',
            parameters=7_465_057,
        ),
        _released('lvis'),
        _released('coco'),
        PretrainedModel(
            name='ovsam-mini',
            config='mini/ovsam_mini_boxes.py',
            description='model of the small drawn world, for tests, in the package',
            parameters=3_825_316,
        ),
    )
}


def find_pretrained(name: str) -> PretrainedModel:
    """A model by its name.

    Raises:
        ValueError: There is no such model; the message has all names.
    """
    if name in MODELS:
        return MODELS[name]
    close = difflib.get_close_matches(name.lower().replace('_', '-'), MODELS, n=1, cutoff=0.4)
    hint = f' Did you mean {close[0]!r}?' if close else ''
    raise ValueError(f'There is no model named {name!r}: there are {", ".join(MODELS)}.{hint}')
