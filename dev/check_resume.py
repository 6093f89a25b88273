"""Kill trainings at random moments, resume them, and compare them with uninterrupted ones.

The stages of the small world train in miniature on the CPU, by epochs and by iterations, with and
without data loading workers. Weights, optimizer and schedules must be equal to the bit.
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import random
import runpy
import signal
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import mmdet.engine.hooks  # noqa: F401  imported once for the forked processes
import torch
from mmdet.registry import MODELS
from mmengine.config import Config
from mini_world import SPLITS, write_split
from tqdm import tqdm

from mmovsam.checkpoints.loading import load_checkpoint_file
from mmovsam.engine.command_line import readable_errors

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / 'configs' / 'mini'
STAGES = (
    'clip_mini',
    'sam_mini',
    'sam2clip_mini',
    'sam2clip_mini_store',
    'ovsam_mini',
    'rtmdet_mini',
    'faster_rcnn_mini',
)
NUM_IMAGES, BATCH_SIZE, NUM_EPOCHS = 6, 2, 3
NUM_ITERS = NUM_EPOCHS * NUM_IMAGES // BATCH_SIZE
# replacements of settings anywhere in the configs
SMALL = dict(
    image_size=96,
    scale=96,
    crop_size=96,
    size=96,
    window_size=3,
    num_captions=8,
    num_points=64,
    min_gt_mask_area=1,
    min_gt_bbox_wh=1,
    init_cfg=None,  # the shipped weights are of larger images
)
# whether training is by epoch, and its checkpoints, the second ones also within epochs
LOOPS = {
    'epochs': (True, dict(by_epoch=True, interval=1)),
    'epochs, saved between': (True, dict(by_epoch=False, interval=2)),
    'iterations': (False, dict(by_epoch=False, interval=2)),
}
START = 'the start'
IN_A_SAVE = 10  # one of so many kills waits for a checkpoint being written


class Case(NamedTuple):
    """A training to kill."""

    stage: str
    loop: str
    workers: int


class Kill(NamedTuple):
    """The result of a kill."""

    case: Case
    iterations: int
    in_a_save: bool
    resumed_from: str
    difference: str


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add('--kills', type=int, default=50, help='number of kills')
    add('--stages', nargs='+', choices=STAGES, default=STAGES, help='stages to train')
    add('--seed', type=int, default=None, help='of the moments (default: random)')
    add('--threads', type=int, default=1, help='of each training')
    args = parser.parse_args()
    if args.kills < 1:
        parser.error(f'--kills must be at least 1, not {args.kills}')
    return args


def write_config(case: Case, folder: Path, name: str) -> Path:
    """Write the config of a miniature stage; returns its path."""
    cfg = Config.fromfile(CONFIGS / f'{case.stage}.py')
    shrink(cfg._cfg_dict)
    by_epoch, checkpoint = LOOPS[case.loop]
    loader = cfg.train_dataloader
    loader.update(
        batch_size=BATCH_SIZE,
        num_workers=case.workers,
        persistent_workers=case.workers > 0,
        sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True),
    )
    for holder in (loader, cfg.get('val_dataloader')):
        if holder and holder.dataset.type == 'TeacherFeatureDataset':
            cfg.model.features = holder.dataset.features = str(folder / 'features')
            cfg.model.teacher.init_cfg = dict(
                type='Pretrained', checkpoint=str(folder / 'teacher.pth'), prefix='image_encoder'
            )
            holder = holder.dataset
        if holder and 'data_root' in holder.dataset:
            holder.dataset.update(data_root=str(folder / 'world'))
        elif holder:
            holder.dataset.num_images = NUM_IMAGES
    if cfg.get('val_dataloader'):
        cfg.val_dataloader.update(num_workers=0, persistent_workers=False)
        cfg.val_dataloader.dataset.indices = 2
    if by_epoch:
        loop = dict(type='ResumableEpochLoop', max_epochs=NUM_EPOCHS, val_interval=1)
    else:
        loop = dict(type='ResumableIterLoop', max_iters=NUM_ITERS, val_interval=NUM_ITERS // 2)
    cfg.train_cfg = loop
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=4),
        dict(type='CosineAnnealingLR', by_epoch=by_epoch, convert_to_iter_based=by_epoch),
    ]
    cfg.log_processor.by_epoch = by_epoch
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.val_picture.num_images = 0
    cfg.default_hooks.checkpoint.update(checkpoint, max_keep_ckpts=2)
    cfg.work_dir = str(folder / name)
    path = folder / f'{name}.py'
    cfg.dump(path)
    return path


def shrink(tree) -> None:
    """Apply `SMALL` at any depth of a config."""
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        if key in SMALL:
            pair = isinstance(value, list | tuple)
            tree[key] = (SMALL[key],) * 2 if pair else SMALL[key]
        elif isinstance(value, dict | list):
            shrink(value)


def dump_features(folder: Path) -> None:
    """Write a random teacher and its features of the training images."""
    config = write_config(Case('sam2clip_mini_store', 'epochs', 0), folder, 'dump')
    teacher = Config.fromfile(config).model.teacher
    teacher.pop('init_cfg')
    torch.manual_seed(0)
    weights = MODELS.build(teacher).state_dict()
    torch.save(
        {f'image_encoder.{key}': value for key, value in weights.items()}, folder / 'teacher.pth'
    )
    log = folder / 'dump.log'
    out = ('--out', folder / 'features')
    finish(start('dump_teacher_features.py', config, *out, threads=1, log=log), log)


def start(tool: str, *arguments, threads: int, log: Path) -> int:
    """Run a tool in a forked process with its own process group; returns its id.

    The fork saves the imports, which take longer than the training.
    """
    child = os.fork()
    if child:
        os.setpgid(child, child)  # in both processes, whichever is first
        return child
    status = 1
    try:
        os.setpgid(0, 0)
        with open(log, 'a') as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        torch.set_num_threads(threads)
        sys.argv = [tool, *map(str, arguments)]
        runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    finally:
        for worker in multiprocessing.active_children():
            worker.kill()
        sys.stdout.flush()
        os._exit(status)


def finish(child: int, log: Path) -> None:
    """Wait until a tool ends, and raise a RuntimeError if it fails."""
    raise_if_failed(os.waitpid(child, 0)[1], log)


def raise_if_failed(status: int, log: Path) -> None:
    """Raise an error with the end of the log for a failure status of `os.waitpid`."""
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise RuntimeError(f'A training ended with status {code}:\n{log.read_text()[-3000:]}')


def kill(child: int, log: Path, ready, wait: float) -> bool:
    """Kill a training some seconds after `ready()`; returns whether it was still running.

    Raises:
        RuntimeError: If it fails before that.
    """
    ready_at = None
    while ready_at is None or time.monotonic() - ready_at < wait:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            raise_if_failed(status, log)
            return False
        if ready_at is None and ready():
            ready_at = time.monotonic()
        else:
            time.sleep(0.0005)
    os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def unfinished(work_dir: Path) -> bool:
    """Whether a folder has an incomplete checkpoint."""
    with contextlib.suppress(FileNotFoundError):
        return any(entry.name.endswith('.tmp') for entry in os.scandir(work_dir))
    return False


def logged(work_dir: Path) -> list[str]:
    """The lines of the iterations in the last log of a training."""
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    return [line for line in logs[-1].read_text().splitlines() if '"loss"' in line] if logs else []


def trained(work_dir: Path, count: int) -> bool:
    """Whether a log has a number of iterations."""
    return len(logged(work_dir)) >= count


def difference(first: Path, second: Path) -> str:
    """The first difference of the last checkpoints of two trainings, or ''."""
    checkpoints = [
        load_checkpoint_file((path / 'last_checkpoint').read_text()) for path in (first, second)
    ]
    keys = ('state_dict', 'optimizer', 'param_schedulers')
    leaves = (flatten({key: checkpoint[key] for key in keys}) for checkpoint in checkpoints)
    for (name, a), (name_b, b) in itertools.zip_longest(*leaves, fillvalue=('nothing', None)):
        if name != name_b or not (torch.equal(a, b) if torch.is_tensor(a) else a == b):
            return name
    return ''


def flatten(tree, name=''):
    """Names and values of the leaves of nested dictionaries and lists."""
    if isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            yield from flatten(value, f'{name}.{key}')
    else:
        yield name[1:], tree


def train_uninterrupted(case: Case, folder: Path, threads: int) -> float:
    """Train without a kill; returns the seconds of an iteration."""
    name = f'{case.stage}_{LOOPS[case.loop][0]}'
    log = folder / f'{name}.log'
    finish(start('train.py', write_config(case, folder, name), threads=threads, log=log), log)
    return json.loads(logged(folder / name)[-1])['time']


def check(case: Case, in_a_save: bool, number: int, rng, seconds: float, folder, threads) -> Kill:
    """Kill a training, resume it and compare it with the uninterrupted one.

    Args:
        case: The training.
        in_a_save: Whether to wait for a checkpoint being written.
        number: Number of the kill.
        rng: Chooses the moment.
        seconds: Duration of an iteration.
        folder: Of all trainings.
        threads: Of a training.
    """
    for attempt in itertools.count():
        name = f'kill_{number}_{attempt}'
        work_dir, log = folder / name, folder / f'{name}.log'
        config = write_config(case, folder, name)
        after, wait = rng.randrange(NUM_ITERS), rng.uniform(0, 2 * seconds)
        child = start('train.py', config, threads=threads, log=log)
        if in_a_save:
            killed = kill(child, log, partial(unfinished, work_dir), 0) and unfinished(work_dir)
        else:
            killed = kill(child, log, partial(trained, work_dir, after), wait)
        if killed:
            break
    iterations, in_a_save = len(logged(work_dir)), unfinished(work_dir)
    pointer = work_dir / 'last_checkpoint'
    resumed_from = Path(pointer.read_text()).stem if pointer.is_file() else START
    finish(start('train.py', config, '--resume', threads=threads, log=log), log)
    reference = folder / f'{case.stage}_{LOOPS[case.loop][0]}'
    return Kill(case, iterations, in_a_save, resumed_from, difference(reference, work_dir))


def cases(stages) -> list[Case]:
    """All combinations, ordered so that few kills cover many of them."""
    rows = itertools.product((2, 0), LOOPS, stages)
    return [Case(stage, loop, workers) for workers, loop, stage in rows]


def main(args) -> int:
    os.environ['CUDA_VISIBLE_DEVICES'] = '-1'
    torch.set_num_threads(1)  # a pool of threads would not survive a fork
    seed = random.randrange(10**6) if args.seed is None else args.seed
    rng = random.Random(seed)
    print(f'seed {seed}')
    kills, seconds = [], {}
    # formatting configs would take most of the time
    unformatted = mock.patch('mmengine.config.config.FormatCode', lambda text, **_: (text, True))
    with tempfile.TemporaryDirectory() as name, unformatted:
        folder = Path(name)
        for split in SPLITS[:2]:
            write_split(folder / 'world', split, NUM_IMAGES)
        if 'sam2clip_mini_store' in args.stages:
            dump_features(folder)
        queue = itertools.islice(itertools.cycle(cases(args.stages)), args.kills)
        for number, case in enumerate(tqdm(list(queue), unit='kill'), 1):
            key = (case.stage, LOOPS[case.loop][0])
            if key not in seconds:  # independent of the number of workers
                seconds[key] = train_uninterrupted(case._replace(workers=0), folder, args.threads)
            in_a_save = number % IN_A_SAVE == 1
            kill = check(case, in_a_save, number, rng, seconds[key], folder, args.threads)
            kills.append(kill)
            tqdm.write(
                f'{number:3} {case.stage:20} {case.loop:22} {case.workers} workers, killed after '
                f'{kill.iterations} iterations{" in a save" * kill.in_a_save}, resumed from '
                f'{kill.resumed_from}: '
                f'{kill.difference + " differs" if kill.difference else "identical"}'
            )
    different = sum(bool(kill.difference) for kill in kills)
    saves = sum(kill.in_a_save for kill in kills)
    resumed = sum(kill.resumed_from != START for kill in kills)
    print(
        f'{len(kills) - different} of {len(kills)} identical; {saves} were killed in a save, '
        f'{resumed} went on from a checkpoint'
    )
    return 1 if different else 0


if __name__ == '__main__':
    args = parse_args()
    with readable_errors():
        sys.exit(main(args))
