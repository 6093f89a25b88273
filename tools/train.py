"""Train a model, with MMDetection's flags, with or without GPUs."""

import argparse

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from mmengine.device import get_device
from mmovsam.devices import describe_device
from mmovsam.engine.command_line import add_common_arguments, readable_errors
from mmovsam.engine.processes import ending_at_once
from mmovsam.engine.resume import last_checkpoint
from mmovsam.engine.runners import build_runner, load_config


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('--amp', action='store_true', help='train in bfloat16, on a GPU')
    parser.add_argument(
        '--auto-scale-lr', action='store_true', help='scale the learning rate to the batch size'
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from a checkpoint, by default the latest one in the work folder',
    )
    add_common_arguments(parser)
    return parser.parse_args()


def train(args):
    cfg = load_config(args)
    if args.amp:
        if not torch.cuda.is_available():
            raise ValueError('--amp needs a GPU: MMEngine trains with mixed precision there only.')
        bfloat16 = dict(dtype='bfloat16', loss_scale=dict(enabled=False))
        cfg.optim_wrapper = {**bfloat16, **cfg.optim_wrapper, 'type': 'AmpOptimWrapper'}
    if args.auto_scale_lr:
        if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
            raise ValueError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config.')
        cfg.auto_scale_lr.enable = True
        # MMEngine counts the images of an iteration, not of an update
        cfg.auto_scale_lr.base_batch_size /= cfg.optim_wrapper.get('accumulative_counts', 1)
    if args.resume:
        cfg.resume = True
        cfg.load_from = last_checkpoint(cfg.work_dir) if args.resume == 'auto' else args.resume
    runner = build_runner(cfg, training=True)
    if runner.rank == 0:
        print(describe_device(torch.device(get_device())), flush=True)
    with ending_at_once():
        runner.train()
    if runner.rank == 0:
        print(f'Done. Checkpoints and logs are in {runner.work_dir}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('The same command with --resume goes on from the last checkpoint.'):
        train(args)
