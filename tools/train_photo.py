"""Train the photo model in stages, from its tower to its names.

The same command resumes a stopped training. docs/photo_model.md has the layout of the photographs,
and the training of the shipped weights.
"""

import argparse
import dataclasses
import math
from functools import partial
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmovsam.checkpoints.quantization import to_int8
from mmovsam.checkpoints.loading import WEIGHTS_DIR, load_checkpoint_file, save_safetensors
from mmovsam.datasets.ov_coco import NOVEL_CLASSES
from mmovsam.engine.command_line import add_device_arguments, device_of, readable_errors
from mmovsam.config_files import find_config
from mmovsam.fileio import write_atomic
from mmovsam.photos import PhotoData, PhotoTrainer, load_photographs
from mmovsam.photos.crop_training import CropTrainer
from mmovsam.photos.encoded import EncodedPhotos
from mmovsam.photos.name_training import BOX_JITTER, read_regions, teach_names
from mmovsam.photos.proposal_training import ProposalTrainer
from mmovsam.photos.ranking import draw_candidates, train_ranker
from mmovsam.photos.region_names import RegionNames, crop_features
from mmovsam.photos.tower import center_projection, set_imagenet_weights
from mmovsam.photos.window_training import WindowTrainer
from mmovsam.vocabulary import save_classifier

SETS = {  # sampling weights
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
PROPOSAL_SETS = {  # whose masks are whole objects
    **dict.fromkeys(SETS, 0.0),
    'coco_train': 3.0,
    'coco_partial': 0.8,
    'ecssd': 0.25,
    'pets': 0.2,
    'balloon': 0.5,
}
STAGES = {  # updates, learning rate, photographs an update
    'tower': (1500, 6e-4, 48),
    'windows': (10000, 1.5e-3, 16),
    'ranking': (0, 2e-3, 16),
    'crops': (3000, 6e-4, 8),
    'proposals': (1400, 1.5e-3, 8),
    'names': (0, 1e-3, 0),
}
# words for novel classes in the data sets: the tower does not learn these labels
NOVEL_WORDS = {*NOVEL_CLASSES, 'airplanes', 'aeroplane', 'bengal', 'abyssinian', 'bulldog'}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--data', type=Path, default=Path('data/photos'), help='folder of the data sets')
    add('--sets', nargs='+', default=list(SETS), help='names of the data sets')
    add('--val', default='coco_val', help='data set for validation')
    add('--config', default='photo/ovsam_photo.py')
    add('--tower-config', default='photo/ovsam_photo_sam_decoder.py', help='that of stage tower')
    add('--views', type=int, default=2, help='encoded views of a photograph')
    add('--complete-sets', nargs='+', default=['coco_train'], help='with all objects annotated')
    add('--clicks', type=int, default=4000, help='simulated for stage ranking')
    add('--stages', nargs='+', choices=STAGES, default=list(STAGES))
    add('--out', type=Path, default=Path('work_dirs/photo'))
    add('--init', help='initial weights (default: the tower of ImageNet)')
    add('--steps', type=int, help='updates of a stage')
    add('--seconds', type=float, default=math.inf, help='length of a stage, in place of --steps')
    add('--batch-size', type=int, help='photographs an update')
    add('--lr', type=float, help='highest learning rate')
    add('--tower-lr', type=float, default=2e-4, help='of the tower; 0 freezes it')
    add('--name-weight', type=float, default=0.2, help='weight of the losses of names')
    add('--save-every', type=int, default=500, help='updates between two measurements')
    add('--workers', type=int, default=2, help='threads that decode photographs')
    add('--seed', type=int, default=0)
    add('--amp', action='store_true', help='bfloat16')
    add('--ship', action='store_true', help='replace the shipped weights')
    add_device_arguments(parser, half=False)
    return parser.parse_args(argv)


def build_model(config: str, frozen_tower: bool):
    init_default_scope('mmdet')
    cfg = Config.fromfile(find_config(config))
    cfg.model.prompter = None
    cfg.model.backbone.frozen = frozen_tower
    model = MODELS.build(cfg.model)
    return model.to(memory_format=torch.channels_last)  # faster on GPUs and CPUs alike


def weights_file(args, stage: str) -> Path:
    return args.out / f'{stage}.safetensors'


def train_tower(args, data, val) -> None:
    model = build_model(args.tower_config, frozen_tower=args.tower_lr == 0)
    rows = set_imagenet_weights(model.backbone)
    model.to(args.device)
    center_projection(model.backbone, data)
    names = None
    if args.name_weight:
        crops = crop_embeddings(args, model, data)
        names = RegionNames(data, crops, rows.to(args.device), NOVEL_WORDS).to(args.device)
    load_into(model, args.init)
    run(args, 'tower', PhotoTrainer, model, data, val, names=names, tower_lr=args.tower_lr)


def crop_embeddings(args, model, data):
    """The tower's embeddings `(M, D)` of crops of all objects, cached in a file."""
    file = args.out / 'crops.safetensors'
    if not file.is_file():
        objects = torch.arange(len(data.photographs.objects))
        features = crop_features(data, model.backbone.eval(), objects, amp=args.amp)
        save_safetensors({'features': features.half()}, file, {})
    features = load_checkpoint_file(file)['state_dict']['features'].float()
    with torch.no_grad():
        return model.backbone.project(features.to(args.device))


def train_on_maps(stage: str, trainer_type, args, data, val, **kwargs) -> None:
    model, features = encode(args, data, stage)
    run(args, stage, trainer_type, model, data, val, features=features, **kwargs)


def train_ranking(args, data, val) -> None:
    model, features = encode(args, data, 'ranking')
    trainer = WindowTrainer(
        model, data, features, steps=1, batch_size=args.batch_size or 16, set_weights=SETS
    )
    candidates = draw_candidates(trainer, args.clicks, args.seed)
    ious = train_ranker(
        model.window_decoder.ranker, candidates, lr=args.lr or STAGES['ranking'][1], seed=args.seed
    )
    print('ranking of clicks:', ' '.join(f'{name} {iou:.1f}' for name, iou in ious.items()))
    save_safetensors(halved(model.state_dict()), weights_file(args, 'ranking'), {})


def train_proposals(args, data, val) -> None:
    settings = dict(set_weights=PROPOSAL_SETS, complete=args.complete_sets)
    train_on_maps('proposals', ProposalTrainer, args, data, val, **settings)


def encode(args, data, stage: str) -> tuple:
    """The initial model of a stage, and the maps of its tower."""
    model = build_model(args.config, frozen_tower=True).to(args.device).eval()
    load_into(model, weights_before(args, stage))
    model.backbone.half().float()  # as in files of weights, so that all stages have the same maps
    features = EncodedPhotos(args.out / 'encoded', data, args.views)
    features.encode(model.backbone, args.amp)
    return model, features


def run(args, stage, trainer_type, model, data, val, set_weights=SETS, **kwargs) -> None:
    """Train a stage to its end, from its last state if there is one."""
    steps, lr, batch_size = STAGES[stage]
    trainer = trainer_type(
        model,
        data,
        steps=args.steps or steps,
        batch_size=args.batch_size or batch_size,
        lr=args.lr or lr,
        set_weights=set_weights,
        name_weight=args.name_weight,
        seed=args.seed,
        amp=args.amp,
        **kwargs,
    )
    state = args.out / stage / 'state.pth'
    if state.is_file():
        trainer.resume(state)
    else:
        trainer.begin()
    trainer.train(args.out / stage, val, args.save_every, seconds=args.seconds)
    save_safetensors(halved(trainer.averaged.state_dict()), weights_file(args, stage), {})


def train_names(args, data, val) -> None:
    model = build_model(args.config, frozen_tower=True).to(args.device).eval()
    load_into(model, weights_before(args, 'names'))
    views = read_regions(model, data, amp=args.amp, jitter=BOX_JITTER)
    views_of_val = read_regions(model, val, amp=args.amp)
    classifier, scores = teach_names(model.region_namer, views, views_of_val, seed=args.seed)
    print(' '.join(f'{name} {value:.1f}' for name, value in scores.items()))
    save_safetensors(halved(model.state_dict()), weights_file(args, 'names'), {})
    half = dataclasses.replace(classifier, embeddings=classifier.embeddings.half())
    save_classifier(args.out / 'photo_names.safetensors', half)


def halved(state: dict) -> dict:
    return {
        name: value.half() if value.is_floating_point() else value for name, value in state.items()
    }


def weights_before(args, stage: str):
    """The initial weights of a stage: of the last stage before it, or of `--init`."""
    stages = list(STAGES)
    for earlier in reversed(stages[: stages.index(stage)]):
        if weights_file(args, earlier).is_file():
            return weights_file(args, earlier)
    return args.init or 'mmovsam://photo_ovsam.safetensors'


def load_into(model, file) -> None:
    """Load the weights of the parts that a model has; stages differ in their mask decoder."""
    if file is None:
        return
    state, parameters = load_checkpoint_file(file)['state_dict'], model.state_dict()
    shared = {name: value for name, value in state.items() if name in parameters}
    if not any(name.startswith('backbone.') for name in shared):
        raise ValueError(f'{file} is of another model: none of its weights is of this tower.')
    model.load_state_dict(shared, strict=False)


def ship(args) -> None:
    """Copy the weights to the package; tools/build_vocabulary.py then updates the vocabularies."""
    state = load_checkpoint_file(weights_file(args, 'names'))['state_dict']
    state = {name: value for name, value in state.items() if 'num_batches_tracked' not in name}
    save_safetensors(to_int8(state), WEIGHTS_DIR / 'photo_ovsam.safetensors', {'stage': 'photo'})
    name = 'photo_names.safetensors'
    write_atomic(WEIGHTS_DIR / name, (args.out / name).read_bytes())


def main(args) -> None:
    torch.manual_seed(args.seed)
    args.device = device_of(args)
    stages = dict(
        tower=train_tower,
        windows=partial(train_on_maps, 'windows', WindowTrainer),
        ranking=train_ranking,
        crops=partial(train_on_maps, 'crops', CropTrainer),
        proposals=train_proposals,
        names=train_names,
    )
    done = [stage for stage in args.stages if weights_file(args, stage).is_file()]
    for stage in done:
        print(f'{stage}: done before, {weights_file(args, stage)}')
    if len(done) < len(args.stages):
        data, val = (
            PhotoData(load_photographs(args.data, sets), args.device, args.workers)
            for sets in (args.sets, [args.val])
        )
        for stage, train in stages.items():
            if stage in args.stages and stage not in done:
                train(args, data, val)
    if args.ship:
        ship(args)
    print(f'The weights are in {WEIGHTS_DIR if args.ship else args.out}')


if __name__ == '__main__':
    with readable_errors('The same command resumes the training.'):
        main(parse_args())
