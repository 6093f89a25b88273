"""Benchmark the package beside a plain implementation of the same arithmetic."""

import argparse
import os

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from mmengine.config import Config
from benchmarks import cases, machine, machine_rates, plot, table, write_json
from benchmarks.laptop import laptop
from benchmarks.starting import start
from mmovsam.engine.command_line import OptionsAction, readable_errors
from mmovsam.config_files import find_config


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    works = ['encode', 'prompts', 'vocabulary', 'masks', 'train-step', 'loader', 'exported']
    add('work', choices=[*works, 'laptop', 'start'])
    add('--config', default='ovsam_coco.py', help='(default: the full-size model)')
    add('--checkpoint', help='weights (default: random ones)')
    add('--cfg-options', nargs='+', action=OptionsAction, metavar='KEY=VALUE', default={})
    add('--device', default='cpu', help='such as cuda')
    add('--dtype', default='float32', choices=['float32', 'bfloat16', 'float16'], help='of encode')
    add('--threads', type=int, default=os.cpu_count(), help='of the CPU')
    add('--pairs', type=int, default=3, help='runs of each, in turn with its plain twin')
    add('--numbers', type=int, nargs='+', help='of prompts, names or masks')
    add('--regions', type=int, default=100, help='number of regions for vocabulary')
    add('--size', type=int, nargs=2, default=[4000, 3000], help='width and height of masks')
    add(
        '--plain-up-to',
        type=int,
        default=100,
        help='largest number of prompts or masks of the twin',
    )
    add('--export', help='folder of tools/export.py, for exported')
    add('--out', help='JSON file')
    add('--plot', help='plot of time against number, such as prompts.png')
    args = parser.parse_args()
    if args.work == 'exported' and not args.export:
        parser.error('exported needs --export, a folder of tools/export.py')
    return args


def rows_of(args, cfg, dtype):
    if args.work == 'masks':
        width, height = args.size
        return cases.masks((args.numbers or [1000])[0], (height, width), args.plain_up_to)
    if args.work == 'laptop':
        return laptop(args.pairs)
    if args.work == 'start':
        return start(args.config, args.pairs)
    if args.work == 'loader':
        return cases.loader(cfg, num_batches=10)
    if args.work == 'train-step':
        return cases.train_step(cfg, args.device, args.pairs)
    model = cases.build_model(cfg, args.checkpoint, args.device)
    if args.work == 'encode':
        return cases.encode(model, dtype, args.pairs)
    if args.work == 'exported':
        return cases.exported(model, args.export, args.numbers or [1, 100], args.pairs)
    if args.work == 'prompts':
        numbers = args.numbers or [1, 10, 100, 1000]
        return cases.prompts(model, numbers, args.plain_up_to, args.pairs)
    return cases.vocabulary(model, args.numbers or [80, 1203, 21841], args.regions, args.pairs)


def benchmark(args):
    torch.set_num_threads(args.threads)
    cfg = Config.fromfile(find_config(args.config))
    cfg.merge_from_dict(args.cfg_options)
    dtype = getattr(torch, args.dtype)
    settings = dict(work=args.work, config=args.config, **machine())
    print(', '.join(f'{key} {value}' for key, value in settings.items()))
    rates = machine_rates(dtype, args.device)
    print('GFLOP/s:', ', '.join(f'{name} {rate:.0f}' for name, rate in rates.items()))
    rows = []
    for row in rows_of(args, cfg, dtype):
        rows.append(row)
        print(table(rows).splitlines()[-1], flush=True)
    print(f'\n{table(rows)}')
    if args.out:
        write_json(args.out, rows, dict(settings, gflop_s=rates))
    if args.plot:
        plot(args.plot, rows)


if __name__ == '__main__':
    args = parse_args()
    with readable_errors():
        benchmark(args)
