"""How far the loss of several processes is from that of one with the same global batch.

Trains some steps of a config in one process and in several, and prints the largest relative
difference of the loss.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from mmdet.utils import reduce_mean
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmovsam.engine.command_line import OptionsAction, build_runner, load_config, readable_errors


class EnoughSteps(Exception):
    """Ends a training early."""


class LossRecorder(Hook):
    """Keeps the mean of the processes' losses, until there are enough.

    Args:
        count: How many.
        reverse: Whether the images of each batch are turned round first.
    """

    def __init__(self, count, reverse):
        self.count = count
        self.reverse = reverse
        self.losses = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.reverse:
            for key, images in data_batch.items():
                flip = isinstance(images, torch.Tensor)
                data_batch[key] = images.flip(0) if flip else images[::-1]

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loss = outputs['loss'].detach()
        if loss.dtype != torch.get_default_dtype():
            raise ValueError(f'The loss is in {loss.dtype}: not all of this model follows --dtype.')
        self.losses.append(reduce_mean(loss).item())
        if len(self.losses) == self.count:
            raise EnoughSteps


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', help='of a training')
    add('--processes', type=int, default=2, help='to compare with one (default: 2)')
    add('--accumulate', type=int, default=1, help='batches to an update there (default: 1)')
    add('--batch-size', type=int, default=4, help='images to an update (default: 4)')
    add('--steps', type=int, default=100, help='updates (default: 100)')
    add(
        '--dtype',
        choices=('float32', 'float64'),
        default='float32',
        help='float64 tells rounding, which it makes vanish, from what is wrong (default: float32)',
    )
    add(
        '--reverse',
        action=argparse.BooleanOptionalAction,
        default=False,
        help='turn the images of each batch round in the second training; with --processes 1, '
        'which then differs from the first by rounding alone, it shows what rounding does',
    )
    add(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='override settings of the config for both',
    )
    add('--losses', help=argparse.SUPPRESS)  # a process that trains writes them there
    parser.set_defaults(work_dir=None, launcher='pytorch', local_rank=0)  # of the other tools
    args = parser.parse_args()
    if min(args.processes, args.accumulate, args.batch_size, args.steps) < 1:
        parser.error('all numbers must be at least 1')
    if args.batch_size % (args.processes * args.accumulate):
        parser.error('--batch-size must be a multiple of --processes times --accumulate')
    return args


def train(args):
    """One of the processes that train."""
    if args.dtype == 'float64':
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double  # for losses that compute in float() themselves
    args.work_dir = str(Path(args.losses).with_suffix(''))
    cfg = load_config(args)
    batch_size = args.batch_size // (args.processes * args.accumulate)
    cfg.train_dataloader.update(batch_size=batch_size, num_workers=0, persistent_workers=False)
    cfg.optim_wrapper.accumulative_counts = args.accumulate
    cfg.log_level = 'ERROR'
    runner = build_runner(cfg, training=True)
    recorder = LossRecorder(args.steps * args.accumulate, args.reverse)
    runner.register_hook(recorder, priority='LOWEST')
    try:
        runner.train()
    except EnoughSteps:
        parts = zip(*[iter(recorder.losses)] * args.accumulate)
        if is_main_process():
            Path(args.losses).write_text(json.dumps([sum(p) / len(p) for p in parts]))
        barrier()  # one that ends early looks like a lost one
    else:
        raise ValueError(f'The training has only {len(recorder.losses)} iterations.')


def losses_of(out, processes, *options):
    """The losses of a training in so many processes, with the arguments of this one and others."""
    launch = f'-m torch.distributed.run --standalone --nproc_per_node={processes}'.split()
    command = [sys.executable, *launch, *sys.argv, *options, f'--losses={out}']
    if subprocess.run(command, env={'OMP_NUM_THREADS': '1', **os.environ}).returncode:
        raise ValueError('A training failed: its message is above.')
    return json.loads(Path(out).read_text())


def compare(args):
    alone = ('--processes=1', '--accumulate=1', '--no-reverse')
    with tempfile.TemporaryDirectory() as folder:
        one = losses_of(f'{folder}/one.json', 1, *alone)
        many = losses_of(f'{folder}/many.json', args.processes)
    differences = [abs(a - b) / abs(a) for a, b in zip(one, many)]
    print(f'{Path(args.config).stem}: loss from {one[0]:.6g} to {one[-1]:.6g}')
    print(f'{"steps":>7}  largest relative difference')
    for steps in sorted({1, min(10, args.steps), args.steps}):
        print(f'{steps:7}  {max(differences[:steps]):.1e}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors():
        (train if args.losses else compare)(args)
