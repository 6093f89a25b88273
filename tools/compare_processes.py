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
from mmdet.utils import reduce_mean
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmovsam.engine.command_line import OptionsAction, build_runner, load_config, readable_errors


class EnoughSteps(Exception):
    """Ends a training early."""


class LossRecorder(Hook):
    """Keeps the mean of the processes' losses, until there are enough."""

    def __init__(self, count):
        self.count = count
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append(reduce_mean(outputs['loss'].detach()).item())
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
    args.work_dir = str(Path(args.losses).with_suffix(''))
    cfg = load_config(args)
    batch_size = args.batch_size // (args.processes * args.accumulate)
    cfg.train_dataloader.update(batch_size=batch_size, num_workers=0, persistent_workers=False)
    cfg.optim_wrapper.accumulative_counts = args.accumulate
    cfg.log_level = 'ERROR'
    runner = build_runner(cfg, training=True)
    recorder = LossRecorder(args.steps * args.accumulate)
    runner.register_hook(recorder, priority='LOWEST')
    try:
        runner.train()
    except EnoughSteps:
        parts = zip(*[iter(recorder.losses)] * args.accumulate)
        if is_main_process():
            Path(args.losses).write_text(json.dumps([sum(p) / len(p) for p in parts]))
    else:
        raise ValueError(f'The training has only {len(recorder.losses)} iterations.')


def losses_of(processes, accumulate, out):
    """The losses of a training in so many processes, started with the arguments of this one."""
    more = f'--processes={processes} --accumulate={accumulate} --losses={out}'.split()
    launch = f'-m torch.distributed.run --standalone --nproc_per_node={processes}'.split()
    command = [sys.executable, *launch, *sys.argv, *more]
    subprocess.run(command, check=True, env={'OMP_NUM_THREADS': '1', **os.environ})
    return json.loads(Path(out).read_text())


def compare(args):
    with tempfile.TemporaryDirectory() as folder:
        one = losses_of(1, 1, f'{folder}/one.json')
        many = losses_of(args.processes, args.accumulate, f'{folder}/many.json')
    differences = [abs(a - b) / abs(a) for a, b in zip(one, many)]
    print(f'{Path(args.config).stem}: loss from {one[0]:.6g} to {one[-1]:.6g}')
    print(f'{"steps":>7}  largest relative difference')
    for steps in sorted({1, min(10, args.steps), args.steps}):
        print(f'{steps:7}  {max(differences[:steps]):.1e}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors():
        (train if args.losses else compare)(args)
