"""Compare the loss of a training in several processes with that in one.

Trains some steps of a config with the same global batch, and prints the largest relative difference
of the loss.
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
from mmovsam.engine.command_line import OptionsAction, readable_errors
from mmovsam.engine.runners import build_runner, load_config


class EnoughSteps(Exception):
    """Ends a training early."""


class LossRecorder(Hook):
    """Records the mean loss of the processes, and ends the training after some.

    Args:
        count: Number of losses to record.
        reverse: Whether to reverse the images of each batch.
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
    add('--processes', type=int, default=2, help='(default: 2)')
    add('--accumulate', type=int, default=1, help='batches per update (default: 1)')
    add('--batch-size', type=int, default=4, help='images per update (default: 4)')
    add('--steps', type=int, default=100, help='updates (default: 100)')
    add(
        '--dtype',
        choices=('float32', 'float64'),
        default='float32',
        help='float64 removes differences that are rounding errors (default: float32)',
    )
    add(
        '--reverse',
        action=argparse.BooleanOptionalAction,
        default=False,
        help='reverse the images of each batch in the second training: with --processes 1, a '
        'measure of rounding errors',
    )
    add(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help='override settings of the config for both',
    )
    add('--losses', help=argparse.SUPPRESS)  # output of the training processes
    parser.set_defaults(work_dir=None, launcher='pytorch', local_rank=0)  # for load_config
    args = parser.parse_args()
    if min(args.processes, args.accumulate, args.batch_size, args.steps) < 1:
        parser.error('all numbers must be at least 1')
    if args.batch_size % (args.processes * args.accumulate):
        parser.error('--batch-size must be a multiple of --processes times --accumulate')
    return args


def train(args):
    """Train in one of the processes."""
    if args.dtype == 'float64':
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double  # for losses that call float()
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
        updates = zip(*[iter(recorder.losses)] * args.accumulate)
        if is_main_process():
            Path(args.losses).write_text(json.dumps([sum(u) / len(u) for u in updates]))
        barrier()  # a process that ends early would count as lost
    else:
        raise ValueError(f'The training has only {len(recorder.losses)} iterations.')


def losses_of(out, processes, *options):
    """The losses of a training in a number of processes, with this command's and other options."""
    launch = f'-m torch.distributed.run --standalone --nproc_per_node={processes}'.split()
    command = [sys.executable, *launch, *sys.argv, *options, f'--losses={out}']
    if subprocess.run(command, env={'OMP_NUM_THREADS': '1', **os.environ}).returncode:
        raise ValueError('A training failed: its message is above.')
    return json.loads(Path(out).read_text())


def compare(args):
    single = ('--processes=1', '--accumulate=1', '--no-reverse')
    with tempfile.TemporaryDirectory() as folder:
        one = losses_of(f'{folder}/one.json', 1, *single)
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
