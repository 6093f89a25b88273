"""MMDetection's own detectors, made small, with random weights that find something."""

import torch
from mmdet.apis import DetInferencer
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmovsam.config_files import find_config

NUM_CLASSES = 7
WIDTHS = ('in_channels', 'out_channels', 'feat_channels', 'conv_out_channels', 'embed_dims')
NUMBERS = dict(
    fc_out_channels=32,
    feedforward_channels=32,
    num_groups=4,
    num_classes=NUM_CLASSES,
    num_layers=2,
    num_queries=30,
    num_csp_blocks=1,
    stacked_convs=1,
    num_convs=1,
    nms_pre=200,
    max_per_img=30,
)
# What makes a backbone small, and by how much narrower it is then than in MMDetection's config.
BACKBONES = dict(
    ResNet=(dict(depth=18, stem_channels=8, base_channels=8), 32),
    CSPNeXt=(dict(deepen_factor=0.1, widen_factor=0.125), 8),
    CSPDarknet=(dict(deepen_factor=0.1, widen_factor=0.125), 8),
)


def small_detector(name, folder):
    """Config and random weights of a detector as one of MMDetection's, only smaller.

    Args:
        name (str): A config, such as `'mmdet::atss/atss_r50_fpn_1x_coco.py'`.
        folder (Path): Where the two files are written.
    """
    config = Config.fromfile(find_config(name)).to_dict()
    model, dataset = config['model'], config['test_dataloader']['dataset']
    numbers = dict(NUMBERS)
    if model['type'] not in ('DeformableDETR', 'DINO'):  # 256 channels are part of their code
        numbers.update(dict.fromkeys(WIDTHS, 32), num_feats=16)
    config['model'] = _small(model, numbers, BACKBONES[model['backbone']['type']][1])
    dataset['pipeline'] = [_small_step(step) for step in dataset['pipeline']]
    config_file, weights_file = folder / 'my_detector.py', folder / 'my_detector.pth'
    config_file.write_text(''.join(f'{key} = {value!r}\n' for key, value in config.items()))
    meta = dict(dataset_meta=dict(classes=tuple(f'class {i}' for i in range(NUM_CLASSES))))
    torch.save(dict(state_dict=_random_weights(config['model']), meta=meta), weights_file)
    return config_file, weights_file


def found_alone(config, weights, pictures):
    """`bboxes`, `scores` and `labels` that MMDetection's inferencer finds in image files."""
    inferencer = DetInferencer(str(config), str(weights), device='cpu', show_progress=False)
    # PyTorch multiplies by frozen weights in another order than by others, as DETR shows.
    inferencer.model.requires_grad_(False)
    samples = inferencer(pictures, return_datasamples=True)['predictions']
    return [sample.pred_instances for sample in samples]


def _small(node, numbers, narrower):
    if isinstance(node, (list, tuple)):
        return type(node)(_small(each, numbers, narrower) for each in node)
    if not isinstance(node, dict):
        return node
    if node.get('type') in BACKBONES:
        return {**node, **BACKBONES[node['type']][0], 'init_cfg': None}
    small = {key: _small(value, numbers, narrower) for key, value in node.items()}
    for key, value in small.items():
        if key in numbers and isinstance(value, int):
            small[key] = numbers[key]
        elif key == 'in_channels' and isinstance(value, list):  # of a neck
            small[key] = [channels // narrower for channels in value]
    return small


def _small_step(step):
    """A step of the test pipeline, at a fifth of the size."""
    sizes = {key: step[key] for key in ('scale', 'size') if key in step}
    return {**step, **{key: tuple(side // 5 for side in size) for key, size in sizes.items()}}


@torch.no_grad()
def _random_weights(config):
    """Weights whose outputs differ from place to place and from class to class."""
    generator = torch.Generator().manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = revert_sync_batchnorm(MODELS.build(ConfigDict(config))).eval()
    for module in model.modules():
        for weight in module.parameters(recurse=False):
            noise = torch.randn(weight.shape, generator=generator)
            if isinstance(module, nn.Embedding):
                weight.copy_(noise)
            elif weight.ndim > 1:
                weight.copy_(noise * weight[0].numel() ** -0.5)
            else:
                weight += 0.1 * noise
        if isinstance(module, _BatchNorm):
            # It takes its statistics from pictures, so that signals neither grow nor fade.
            module.momentum = 1.0
            module.train()
    pictures = []
    for side in (4, 8, 16, 32):
        colors = torch.randint(256, (1, 3, 128 // side, 160 // side), generator=generator)
        pictures += nn.functional.interpolate(colors.byte(), scale_factor=side)
    meta = dict(ori_shape=(128, 160), img_shape=(128, 160), scale_factor=(1, 1))
    samples = [DetDataSample(metainfo=meta) for _ in pictures]
    model.test_step(dict(inputs=pictures, data_samples=samples))
    state = model.state_dict()
    if config['type'] == 'RPN':  # its released weights were saved under MMDetection 2's name
        state = {name.replace('bbox_head.', 'rpn_head.'): value for name, value in state.items()}
    return state
