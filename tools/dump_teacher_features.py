"""Dump SAM's embedding of each training image, for trainings without the teacher.

The same command resumes a stopped dump. torchrun divides the work.
"""

import argparse
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from mmengine.device import get_device
from mmengine.dist import is_main_process
from mmengine.logging import MMLogger
from mmovsam.devices import describe_device
from mmovsam.engine.command_line import add_config_options, readable_errors
from mmovsam.engine.processes import join_processes
from mmovsam.engine.runners import load_config
from mmovsam.engine.teacher_dump import DAMAGED, dump_teacher_features, readable_size
from mmovsam.teacher_features import DTYPES, FeatureStore, check_store


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', nargs='?', help='SAM2CLIP config with the teacher and the training images')
    add('--out', required=True, metavar='DIR', help='folder of the features')
    add('--dtype', choices=DTYPES, default='float16', help='of the values (default: float16)')
    add('--check', action='store_true', help='only check the stored features, and the speed')
    add('--damaged', choices=DAMAGED, help='check the stored features first, and do this')
    add_config_options(parser, 'train_dataloader.batch_size=8')
    args = parser.parse_args()
    if not (args.config or args.check):
        parser.error('give a config, or --check')
    return args


def check(args):
    report = check_store(FeatureStore(args.out), progress=True)
    if report.problems:
        raise ValueError('\n'.join([f'{len(report.problems)} damaged:', *report.problems]))
    print(
        f'Done. {report.num_features:,} features in {Path(args.out).resolve()} are as they were '
        f'written; one worker of the data loader read {report.speed:,.0f} MiB/s'
    )


def dump(args):
    MMLogger.get_instance('mmovsam', log_level='WARNING')  # without a line for each weight
    cfg = load_config(args)
    join_processes()
    if is_main_process():
        print(describe_device(torch.device(get_device())), flush=True)
    summary = dump_teacher_features(cfg, args.out, args.dtype, args.damaged)
    if is_main_process():
        if summary.rounding:
            print(f'Rounding to {args.dtype} adds {summary.rounding:.2g} to a mean squared error.')
        damaged = f', but for the {len(summary.damaged)} damaged places above'
        print(
            f'Done{damaged if summary.damaged else ""}. {summary.num_features:,} features '
            f'({readable_size(summary.num_bytes)}) are in '
            f'{Path(args.out).resolve()}'
        )


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The same command goes on where it was.'):
        (check if args.check else dump)(args)
