"""Train the photo model: masks and names of photographs, on a GPU or a CPU.

Stopped or killed, the same command goes on where it was.
"""

import argparse
import math
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmovsam.checkpoints.loading import load_checkpoint_file, save_safetensors
from mmovsam.datasets.ov_coco import NOVEL_CLASSES
from mmovsam.engine.command_line import readable_errors
from mmovsam.fileio import find_config
from mmovsam.photos import PhotoData, PhotoTrainer, load_photographs
from mmovsam.photos.region_names import RegionNames, crop_features
from mmovsam.photos.tower import set_imagenet_weights

SETS = {  # how often a photograph of each is drawn
    'coco_train': 3.0,
    'coco_partial': 1.5,
    'ecssd': 1.0,
    'pets': 0.5,
    'caltech101': 0.5,
    'msrc': 0.7,
    'clothing': 0.7,
    'balloon': 0.7,
    'imagenet_samples': 0.4,
}
# what labels of novel classes are called in the data sets
NOVEL_WORDS = {*NOVEL_CLASSES, 'airplanes', 'aeroplane', 'bengal', 'abyssinian', 'bulldog'}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--data', type=Path, default=Path('data/photos'), help='folder of the data sets')
    add('--sets', nargs='+', default=list(SETS), help='which of them')
    add('--val', default='coco_val', help='the set to measure by')
    add('--config', default='photo/ovsam_photo.py')
    add('--out', type=Path, default=Path('work_dirs/photo'))
    add('--init', type=Path, help='weights to begin with; by default the tower of ImageNet')
    add('--space', type=Path, help='file with the mean of features; measured by default')
    add('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    add('--steps', type=int, default=6000)
    add('--seconds', type=float, default=math.inf, help='end, schedule and all, after so long')
    add('--batch-size', type=int, default=16)
    add('--lr', type=float, default=6e-4)
    add('--tower-lr', type=float, default=2e-4)
    add('--clicks', type=int, default=2)
    add('--name-weight', type=float, default=0.5)
    add('--ema', type=float, default=0.998)
    add('--save-every', type=int, default=500)
    add('--workers', type=int, default=2)
    add('--seed', type=int, default=0)
    add('--amp', action='store_true', help='bfloat16')
    return parser.parse_args(argv)


def build_model(config: str, frozen_tower: bool):
    init_default_scope('mmdet')
    cfg = Config.fromfile(find_config(config))
    cfg.model.prompter = None
    cfg.model.backbone.frozen = frozen_tower
    return MODELS.build(cfg.model)


def main(args) -> None:
    data = PhotoData(load_photographs(args.data, args.sets), args.device, args.workers)
    val = PhotoData(load_photographs(args.data, [args.val]), args.device, args.workers)
    torch.manual_seed(args.seed)
    model = build_model(args.config, frozen_tower=args.tower_lr == 0)
    mean = load_checkpoint_file(args.space)['state_dict']['mean']
    rows = set_imagenet_weights(model.backbone, mean)
    model.to(args.device)
    names = None
    if args.name_weight:
        crops = args.out / 'crops.safetensors'
        if not crops.is_file():
            model.eval()
            every = torch.arange(len(data.photographs.objects))
            features = crop_features(data, model.backbone, every, amp=args.amp)
            save_safetensors({'features': features.half()}, crops, {})
        features = load_checkpoint_file(crops)['state_dict']['features'].float().to(args.device)
        with torch.no_grad():
            features = model.backbone.project(features)
        names = RegionNames(data, features, rows.to(args.device), NOVEL_WORDS).to(args.device)
    if args.init:
        model.load_state_dict(load_checkpoint_file(args.init)['state_dict'])
    trainer = PhotoTrainer(
        model, data, names, args.steps, args.batch_size, args.lr, args.tower_lr, SETS, args.clicks,
        name_weight=args.name_weight, ema=args.ema, seed=args.seed, amp=args.amp,
    )  # fmt: skip
    state = args.out / 'state.pth'
    if state.is_file():
        trainer.resume(state)
    trainer.train(args.out, val, args.save_every, seconds=args.seconds)
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in trainer.averaged.state_dict().items()
    }
    save_safetensors(weights, args.out / 'weights.safetensors', {'stage': 'photo'})
    print(f'The weights are in {args.out / "weights.safetensors"}')


if __name__ == '__main__':
    with readable_errors('the same command goes on where it was.'):
        main(parse_args())
