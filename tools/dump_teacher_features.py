"""Dump SAM's embedding of each training image, once, so that no training computes it again.

Stopped or killed, the same command goes on where it was. torchrun divides the work.
"""

import argparse
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmovsam.devices import describe_device
from mmovsam.engine.command_line import add_config_options, load_config, readable_errors
from mmovsam.engine.processes import join_processes
from mmovsam.engine.teacher_dump import DAMAGED, dump_teacher_features, readable_size
from mmovsam.teacher_features import DTYPES, FeatureStore, check_store


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', nargs='?', help='of SAM2CLIP: its teacher and its training images')
    add('--out', required=True, metavar='DIR', help='folder of the features')
    add('--dtype', choices=DTYPES, default='float16', help='of the values (default: float16)')
    add(
        '--check', action='store_true', help='read what is there, say how fast, and compute nothing'
    )
    add(
        '--damaged',
        choices=DAMAGED,
        help='read what is there first; leave what is damaged, or compute it again',
    )
    add_config_options(parser, 'train_dataloader.batch_size=8')
    args = parser.parse_args()
    if not (args.config or args.check):
        parser.error('give a config, or --check')
    return args


def check(args):
    found = check_store(FeatureStore(args.out), progress=True)
    if found.problems:
        raise ValueError('\n'.join([f'{len(found.problems)} damaged:', *found.problems]))
    print(
        f'Done. {found.num_features:,} features in {Path(args.out).resolve()} are as they were '
        f'written; one worker of the data loader read {found.speed:,.0f} MiB/s'
    )


def dump(args):
    MMLogger.get_instance('mmovsam', log_level='WARNING')  # not each weight that is loaded
    cfg = load_config(args)
    join_processes()
    if is_main_process():
        print(describe_device(torch.device(get_device())), flush=True)
    done = dump_teacher_features(cfg, args.out, args.dtype, args.damaged)
    if is_main_process():
        if done.rounding:
            print(f'Rounding to {args.dtype} adds {done.rounding:.2g} to a mean squared error.')
        left = f', but for the {len(done.damaged)} damaged places above' if done.damaged else ''
        print(
            f'Done{left}. {done.num_features:,} features ({readable_size(done.num_bytes)}) are in '
            f'{Path(args.out).resolve()}'
        )


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The same command goes on where it was.'):
        (check if args.check else dump)(args)
