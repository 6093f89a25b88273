"""A model by name whose files are of the real format and small, on a server of the hub's kind."""

import pytest
import tiny
import torch
from hub_server import server  # noqa: F401  a fixture
from mmdet.registry import MODELS as BUILDERS

from mmovsam.checkpoints.released import FORMATS, locate
from mmovsam.pretrained import MODELS, PretrainedModel
from mmovsam.vocabulary.text_encoder import _build_text_model

NAME = 'ovsam-lvis-tiny'
NAMES = ['cat', 'dog', 'red car']
CONFIG = """
custom_imports = dict(imports=['mmovsam'])
default_scope = 'mmdet'
text_encoder = dict(model='tiny-clip', checkpoint='openai')
model = {model!r}
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeLongestSide', size=96),
    dict(type='PackDetInputs', meta_keys=('img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
model['classifier'].update(classifier={names!r}, text_encoder=text_encoder)
"""


@pytest.fixture
def weights():
    """Of the model, by its own names."""
    torch.manual_seed(1)
    return BUILDERS.build(tiny.OVSAM).state_dict()


@pytest.fixture
def model(server, weights, tmp_path, monkeypatch):  # noqa: F811
    """The registered model, whose files are on the server."""
    import open_clip

    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, 'tiny-clip', tiny.CLIP)
    monkeypatch.setitem(
        open_clip.pretrained._PRETRAINED,
        'tiny-clip',
        dict(openai=dict(hf_hub='openai/clip/clip.pt')),
    )
    files = {key: {} for key in FORMATS}
    for name, tensor in weights.items():
        key, theirs = locate(name, decoder_of='clip2sam')
        files[key][theirs] = tensor
    files['clip'].update(_build_text_model(tiny.CLIP).state_dict())
    # an image encoder before, and a mask decoder behind what is wanted of SAM
    files['sam'] = {
        'image_encoder.patch_embed.proj.weight': torch.randn(1000, 3000),
        **files['sam'],
        'mask_decoder.iou_token.weight': torch.randn(100, 256),
    }
    paths = dict(clip='/openai/clip/clip.pt', sam='/files/sam_vit_t.pth')
    for key, tensors in files.items():
        torch.save(tensors, tmp_path / key)
        path = paths.get(key, f'/own/models/{key}.pth')
        server.files[path] = (tmp_path / key).read_bytes()
    names, config = tmp_path / 'names.txt', tmp_path / 'ovsam_tiny.py'
    names.write_text('\n'.join(NAMES))
    config.write_text(CONFIG.format(model=tiny.OVSAM, names=str(names)))
    model = PretrainedModel(
        name=NAME,
        config=str(config),
        description='small',
        parameters=0,
        sources=dict(
            clip='open_clip://tiny-clip:openai',
            sam=f'{server.url}/files/sam_vit_t.pth#prompt_encoder.',
            sam2clip='hf://own/models/sam2clip.pth',
            clip2sam='hf://own/models/clip2sam.pth',
        ),
    )
    monkeypatch.setitem(MODELS, NAME, model)
    return model
