"""Train everything of the small world: CLIP, SAM, SAM2CLIP, CLIP2SAM and a detector.

Started again it goes on where it was: finished stages are skipped, the stage at work resumes from
its last checkpoint.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmovsam.checkpoints.loading import WEIGHTS_DIR, load_checkpoint_file, save_safetensors
from mmovsam.datasets import MiniWorldPictures
from mmovsam.engine.command_line import readable_errors
from mmovsam.fileio import atomic_path
from mmovsam.vocabulary import TextClassifier, Vocabulary, load_text_encoder, save_classifier

ROOT = Path(__file__).resolve().parents[1]

# name: config, the initial weights it takes from earlier stages (with their prefix), and the
# prefixes of the parameters that its weight file holds, old and new
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
}
SHIPPED = ('sam_mini', 'ovsam_mini', 'rtmdet_mini', 'vocabulary_mini')


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('--out', type=Path, default=Path('work_dirs/mini'), help='folder for all of it')
    add('--stages', nargs='+', choices=STAGES, default=list(STAGES), help='which ones')
    add('--threads', type=int, default=os.cpu_count(), help='threads of each training')
    add('--ship', action='store_true', help='put the weights in the place of the shipped ones')
    return parser.parse_args()


def weights(out: Path, name: str) -> Path:
    return out / 'weights' / f'{name}.safetensors'


def train(stage: str, out: Path, threads: int) -> None:
    """Run one stage to its end and write its weights, in half precision."""
    config, initial, _ = STAGES[stage]
    options = ['default_hooks.checkpoint.max_keep_ckpts=2']
    for key, (source, prefix) in initial.items():
        options += [f'{key}.checkpoint={weights(out, source)}', f'{key}.prefix={prefix}']
    if stage == 'ovsam_mini':
        options.append(f'model.classifier.classifier={weights(out, "vocabulary_mini")}')
    work_dir = out / stage
    command = [sys.executable, ROOT / 'tools' / 'train.py', ROOT / 'configs' / 'mini' / config]
    command += ['--work-dir', work_dir, '--resume', '--cfg-options', *options]
    # glibc would give large blocks back to the system after each use and ask for them again.
    keep = {key: str(2**33) for key in ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_')}
    env = {**keep, **os.environ, 'OMP_NUM_THREADS': str(threads)}
    subprocess.run(list(map(str, command)), check=True, env=env)
    last = (work_dir / 'last_checkpoint').read_text().strip()
    state_dict = load_checkpoint_file(last)['state_dict']
    save_safetensors(renamed(state_dict, stage), weights(out, stage), {'stage': stage})


def renamed(state_dict: dict, stage: str) -> dict:
    """The parameters that a stage's weight file holds, under its names and in half precision."""
    kept = {}
    for name, tensor in state_dict.items():
        for old, new in STAGES[stage][2].items():
            if name.startswith(old):
                half = tensor.half() if tensor.is_floating_point() else tensor
                kept[new + name[len(old) :]] = half
                break
    return kept


def build_vocabulary(out: Path) -> None:
    """Encode the small world's names with its own text tower."""
    from mmengine.config import Config

    clip = Config.fromfile(ROOT / 'configs' / '_base_' / 'models' / 'mini_clip.py').clip
    vocabulary = Vocabulary.from_metainfo(MiniWorldPictures.METAINFO)
    embeddings = vocabulary.encode(*load_text_encoder(clip, weights(out, 'clip_mini')))
    save_classifier(
        weights(out, 'vocabulary_mini'),
        TextClassifier(embeddings.half(), vocabulary.names, vocabulary.novel),
    )


def ship(out: Path) -> None:
    """Copy what the package ships; of CLIP its text tower, for OVSAM's file holds the other."""
    for name in SHIPPED:
        with atomic_path(WEIGHTS_DIR / f'{name}.safetensors') as temporary:
            shutil.copyfile(weights(out, name), temporary)
    clip = load_checkpoint_file(weights(out, 'clip_mini'))['state_dict']
    text = {name: tensor for name, tensor in clip.items() if not name.startswith('visual.')}
    save_safetensors(text, WEIGHTS_DIR / 'clip_mini_text.safetensors', {'stage': 'clip_mini'})


def main(args) -> None:
    args.out = args.out.resolve()
    for number, stage in enumerate(args.stages, 1):
        progress = f'[{number}/{len(args.stages)}] {stage}'
        if weights(args.out, stage).is_file():
            print(f'{progress}: done before')
        else:
            print(progress)
            start = time.monotonic()
            train(stage, args.out, args.threads)
            print(f'{stage}: {(time.monotonic() - start) / 60:.1f} min')
        if stage == 'clip_mini' and not weights(args.out, 'vocabulary_mini').is_file():
            build_vocabulary(args.out)
    if args.ship:
        ship(args.out)
        print(f'Done. The new weights are in {WEIGHTS_DIR}')
    else:
        print(f'Done. The weights are in {args.out / "weights"}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('make mini goes on where it was.'):
        main(args)
