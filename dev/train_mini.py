"""Train the models of the small world: CLIP, SAM, SAM2CLIP, CLIP2SAM and detectors.

Independent stages train at the same time and share the threads. The same command resumes: finished
stages are skipped, others go on from their last checkpoint.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from mmovsam.checkpoints.loading import WEIGHTS_DIR, load_checkpoint_file, save_safetensors
from mini_world import SPLITS, write_split
from mini_world.clip_training import MiniWorldPictures
from mmovsam.engine.command_line import readable_errors
from mmovsam.fileio import atomic_path
from mmovsam.vocabulary import Vocabulary, load_text_encoder, save_classifier

ROOT = Path(__file__).resolve().parents[1]

FROM_FASTER_RCNN = {'model.backbone.init_cfg': ('faster_rcnn_mini', 'backbone')}
# name: config, initial weights from earlier stages (and their prefix), and prefixes of the
# parameters in its weight file, old and new
STAGES = {
    'clip_mini': ('clip_mini.py', {}, {'clip.': ''}),
    'sam_mini': (
        'sam_mini.py',
        {},
        {
            'backbone.': 'image_encoder.',
            'prompt_encoder.': 'prompt_encoder.',
            'head.mask_decoder.': 'mask_decoder.',
        },
    ),
    'sam2clip_mini': (
        'sam2clip_mini.py',
        {
            'model.backbone.init_cfg': ('clip_mini', None),
            'model.teacher.init_cfg': ('sam_mini', 'image_encoder'),
        },
        {'neck.': 'neck.'},
    ),
    'ovsam_mini': (
        'ovsam_mini.py',
        {
            'model.backbone.init_cfg': ('clip_mini', None),
            'model.neck.init_cfg': ('sam2clip_mini', 'neck'),
            'model.prompt_encoder.init_cfg': ('sam_mini', 'prompt_encoder'),
            'model.head.init_cfg': ('sam_mini', 'mask_decoder'),
        },
        {'': ''},
    ),
    'rtmdet_mini': ('rtmdet_mini.py', {}, {'': ''}),
    'faster_rcnn_mini': ('faster_rcnn_mini.py', {}, {'': ''}),
    'cascade_rcnn_mini': ('cascade_rcnn_mini.py', FROM_FASTER_RCNN, {'': ''}),
    'mask_rcnn_mini': ('mask_rcnn_mini.py', FROM_FASTER_RCNN, {'': ''}),
}
# stages that train at the same time, each with weights of earlier rounds
ROUNDS = (
    ('clip_mini', 'sam_mini'),
    ('sam2clip_mini', 'rtmdet_mini'),
    ('ovsam_mini',),
    ('faster_rcnn_mini',),
    ('cascade_rcnn_mini', 'mask_rcnn_mini'),
)
# detectors with classes, to compare with OVSAM: trained on request
WITH_NAMES = ROUNDS[3] + ROUNDS[4]
SHIPPED = ('sam_mini', 'ovsam_mini', 'rtmdet_mini', 'vocabulary_mini')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--out', type=Path, default=Path('work_dirs/mini'), help='output folder')
    default = [stage for stage in STAGES if stage not in WITH_NAMES]
    add('--stages', nargs='+', choices=STAGES, default=default, help='stages to train')
    add('--threads', type=int, default=os.cpu_count(), help='of all trainings together')
    add('--ship', action='store_true', help='replace the shipped weights')
    return parser.parse_args()


def weights(out: Path, name: str) -> Path:
    return out / 'weights' / f'{name}.safetensors'


def command(stage: str, out: Path) -> list[str]:
    """The command that trains or resumes a stage."""
    config, initial, _ = STAGES[stage]
    options = ['default_hooks.checkpoint.max_keep_ckpts=2']
    for key, (source, prefix) in initial.items():
        options += [f'{key}.checkpoint={weights(out, source)}', f'{key}.prefix={prefix}']
    if stage == 'ovsam_mini':
        options.append(f'model.classifier.classifier={weights(out, "vocabulary_mini")}')
    train = [sys.executable, ROOT / 'tools' / 'train.py', ROOT / 'configs' / 'mini' / config]
    train += ['--work-dir', out / stage, '--resume', '--cfg-options', *options]
    return list(map(str, train))


def last_checkpoint(stage: str, out: Path) -> dict | None:
    """The final checkpoint of a stage, or None."""
    from mmengine.config import Config

    pointer = out / stage / 'last_checkpoint'
    if not pointer.is_file():
        return None
    checkpoint = load_checkpoint_file(pointer.read_text().strip())
    train_cfg = Config.fromfile(ROOT / 'configs' / 'mini' / STAGES[stage][0]).train_cfg
    for unit in ('iter', 'epoch'):
        if checkpoint['meta'][unit] == train_cfg.get(f'max_{unit}s'):
            return checkpoint
    return None


def train(stage: str, out: Path, threads: int) -> str:
    """Train a stage and write its weights; returns a message."""
    if weights(out, stage).is_file():
        return 'done before'
    start = time.monotonic()
    if last_checkpoint(stage, out) is None:
        # keep glibc from returning large blocks to the system after each use
        malloc = {key: str(2**33) for key in ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_')}
        env = {**malloc, **os.environ, 'OMP_NUM_THREADS': str(threads), 'PYTHONUNBUFFERED': '1'}
        env['PYTHONPATH'] = os.pathsep.join(sys.path)  # with dev/ for clip_mini.py
        pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        process = subprocess.Popen(command(stage, out), env=env, **pipes)
        for line in process.stdout:
            print(f'{stage}: {line}', end='', flush=True)
        if process.wait():
            raise RuntimeError(
                f'{stage} ended with code {process.returncode}; its last lines say why.'
            )
    state_dict = last_checkpoint(stage, out)['state_dict']
    save_safetensors(renamed(state_dict, stage), weights(out, stage), {'stage': stage})
    return f'{(time.monotonic() - start) / 60:.1f} min'


def renamed(state_dict: dict, stage: str) -> dict:
    """The parameters in a stage's weight file, with its names and in half precision."""
    tensors = {}
    for name, tensor in state_dict.items():
        for old, new in STAGES[stage][2].items():
            if name.startswith(old):
                half = tensor.half() if tensor.is_floating_point() else tensor
                tensors[new + name[len(old) :]] = half
                break
    return without_mask_prompts(tensors)


def without_mask_prompts(state_dict: dict) -> dict:
    """Make mask prompts equal to none, as no stage learns them."""
    last = 'prompt_encoder.mask_downscaling.6'
    if f'{last}.weight' in state_dict:
        state_dict[f'{last}.weight'] = torch.zeros_like(state_dict[f'{last}.weight'])
        state_dict[f'{last}.bias'] = state_dict['prompt_encoder.no_mask_embed.weight'][0].clone()
    return state_dict


def build_vocabulary(out: Path) -> None:
    """Encode the names of the small world with its text tower."""
    from mmengine.config import Config

    clip = Config.fromfile(ROOT / 'configs' / '_base_' / 'models' / 'mini_clip.py').clip
    vocabulary = Vocabulary.from_metainfo(MiniWorldPictures.METAINFO)
    encoder = load_text_encoder(clip, weights(out, 'clip_mini'))
    classifier = vocabulary.build_classifier(*encoder, cache=False)
    half = replace(classifier, embeddings=classifier.embeddings.half())
    save_classifier(weights(out, 'vocabulary_mini'), half)


def ship(out: Path) -> None:
    """Copy the shipped weights; of CLIP only its text tower, since OVSAM has the other one."""
    trained = [name for name in WITH_NAMES if weights(out, name).is_file()]
    for name in (*SHIPPED, *trained):
        with atomic_path(WEIGHTS_DIR / f'{name}.safetensors') as temporary:
            shutil.copyfile(weights(out, name), temporary)
    clip = load_checkpoint_file(weights(out, 'clip_mini'))['state_dict']
    text = {name: tensor for name, tensor in clip.items() if not name.startswith('visual.')}
    save_safetensors(text, WEIGHTS_DIR / 'clip_mini_text.safetensors', {'stage': 'clip_mini'})


def train_round(stages: list[str], out: Path, threads: int) -> None:
    """Train stages at the same time; after a failure the others go on."""
    with ThreadPoolExecutor(len(stages)) as pool:
        threads = max(threads // len(stages), 1)
        futures = {pool.submit(train, stage, out, threads): stage for stage in stages}
        for future in as_completed(futures):
            if future.exception() is None:
                print(f'{futures[future]}: {future.result()}')
    for future in futures:
        future.result()


def main(args) -> None:
    args.out = args.out.resolve()
    start = time.monotonic()
    for split in SPLITS[:2]:
        write_split('data/mini_world', split)
    rounds = [[stage for stage in stages if stage in args.stages] for stages in ROUNDS]
    rounds = [stages for stages in rounds if stages]
    for number, stages in enumerate(rounds, 1):
        print(f'[{number}/{len(rounds)}] {" and ".join(stages)}')
        train_round(stages, args.out, args.threads)
        vocabulary = weights(args.out, 'vocabulary_mini')
        if 'clip_mini' in stages and not vocabulary.is_file():
            build_vocabulary(args.out)
    if args.ship:
        ship(args.out)
    where = WEIGHTS_DIR if args.ship else args.out / 'weights'
    print(f'Done in {(time.monotonic() - start) / 60:.0f} min. The weights are in {where}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('make mini goes on where it was.'):
        main(args)
