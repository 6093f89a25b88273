"""Time and memory of a training step in two checkouts of this package, taken in turn.

Prints for each the median and the least time of a step, the most memory of tensors in it, and what
autograd keeps from the forward for the backward pass; and how many times faster the second is.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

WARM_UP = 5


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add('config', help='of a training, such as configs/mini/ovsam_mini.py, in both checkouts')
    add('folders', nargs='+', help='two checkouts, their data in place')
    add('--steps', type=int, default=60, help=f'timed, after {WARM_UP} others (default: 60)')
    add('--child', action='store_true', help=argparse.SUPPRESS)  # one that steps when told to
    args = parser.parse_args()
    if len(args.folders) != 2 - args.child:
        parser.error('give two folders, the checkouts before and after')
    for folder in args.folders:
        if not (Path(folder) / args.config).is_file():
            parser.error(f'there is no {args.config} in {folder}')
    return args


def train(config):
    """Does a step for each line that comes in, and measures memory at the end."""
    import mmovsam  # noqa: F401  of the checkout
    import torch
    from mmdet.registry import DATASETS, MODELS
    from mmengine.config import Config
    from mmengine.dataset import pseudo_collate
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import init_default_scope
    from mmengine.runner import set_random_seed

    cfg = Config.fromfile(config)
    init_default_scope('mmdet')
    set_random_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    batch = pseudo_collate([dataset[i] for i in range(cfg.train_dataloader.batch_size)])
    optim_wrapper = build_optim_wrapper(model.train(), cfg.optim_wrapper)
    for _ in sys.stdin:
        start = time.perf_counter()
        model.train_step(batch, optim_wrapper)
        print('done', time.perf_counter() - start, flush=True)
    with torch.profiler.profile(profile_memory=True) as profiler:
        model.train_step(batch, optim_wrapper)
    changes = [e for e in profiler.profiler.kineto_results.events() if e.name() == '[memory]']
    changes.sort(key=lambda event: event.start_ns())
    peak = max(itertools.accumulate(event.nbytes() for event in changes)) / 2**20
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**model.data_preprocessor(batch, True), mode='loss')
    for tensor in [*model.parameters(), *model.buffers()]:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    total = sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 2**20
    print(f'done {peak:.0f} MB at most, {total:.1f} MB kept for the backward pass')


def start(config, folder):
    """A process that trains with the package of a checkout."""
    command = [sys.executable, os.path.abspath(__file__), config, '.', '--child']
    environment = dict(os.environ, PYTHONPATH=os.path.abspath(folder))
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdin=pipe, stdout=pipe
    )


def answer(process):
    """What a process says next of its own accord."""
    for line in process.stdout:
        if line.startswith('done'):
            return line[5:].strip()
    raise SystemExit('error: a training ended; its message is above.')


def compare(args):
    children = [start(args.config, folder) for folder in args.folders]
    seconds = []
    for _ in range(args.steps + WARM_UP):
        seconds.append([])
        for child in children:
            child.stdin.write('step\n')
            child.stdin.flush()
            seconds[-1].append(float(answer(child)))
    seconds = seconds[WARM_UP:]
    for folder, own, child in zip(args.folders, zip(*seconds), children):
        child.stdin.close()
        print(f'{folder}: {statistics.median(own):.3f} s, least {min(own):.3f}, {answer(child)}')
    ratio = statistics.median(before / after for before, after in seconds)
    print(f'{ratio:.2f} times faster')


if __name__ == '__main__':
    args = parse_args()
    train(args.config) if args.child else compare(args)
