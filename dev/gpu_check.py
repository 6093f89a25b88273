"""Run the tests that need a GPU, and benchmark it, within six minutes."""

import argparse
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from benchmarks import machine, machine_rates
from benchmarks.gpu import GROUPS
from benchmarks.measuring import measure
from mmovsam.fileio import write_atomic
from torch.utils.flop_counter import FlopCounterMode

TESTS = Path(__file__).resolve().parents[1] / 'tests' / 'test_cuda.py'


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cuda')
    parser.add_argument('--tiny', action='store_true', help='small models and sizes, on a CPU too')
    parser.add_argument('--seconds', type=float, default=360, help='start no work after this time')
    parser.add_argument('--repeats', type=int, help='runs of each (default: 5, with --tiny 1)')
    parser.add_argument('--no-tests', action='store_true', help='measure only')
    parser.add_argument('--out', default='gpu_check.json', help='results, updated on the way')
    return parser.parse_args()


def run_tests(seconds):
    """Exit status and last lines of the tests that need a GPU, stopped after some seconds."""
    command = [sys.executable, '-m', 'pytest', '-m', 'cuda', str(TESTS)]
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, cwd=TESTS.parents[1], timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return dict(status='stopped', output=[f'not done after {seconds:.0f} s'])
    lines = process.stdout.strip().splitlines()[-40:]
    return dict(status=process.returncode, output=lines)


def measure_row(name, number, work, args, rate):
    """A row of the results, with the error if there is one."""
    row = dict(work=name, number=number)
    try:
        with FlopCounterMode(display=False) as counter:
            work()
        result = measure(name, number, work, None, args.repeats, args.device)
        gflop = counter.get_total_flops() / 1e9
        row.update(ms=1e3 * result.seconds, peak_mb=result.peak_mb, gflop=gflop)
        row.update(share_of_product=gflop / result.seconds / rate)
    except Exception as error:  # go on with the others
        row.update(error=_message(error))
    return row


def _message(error):
    return f'{type(error).__name__}: {error}'[:500]


def check(args):
    start = time.monotonic()
    on_gpu = torch.device(args.device).type == 'cuda'
    args.repeats = args.repeats or (1 if args.tiny else 5)
    if args.tiny:
        torch.set_num_threads(1)  # several would wait for each other beside other programs
        rates = dict.fromkeys(('float32', 'bfloat16'), 1.0)
    else:
        rates = {
            name: machine_rates(getattr(torch, name), args.device)['product']
            for name in ('float32', 'bfloat16')
        }
    report = dict(about=machine(), gflop_s=rates, tests=None, measured=[], left_out=[])
    print(report['about'], rates, flush=True)

    def note(row):
        report['measured'].append(row)
        print(json.dumps(row), flush=True)
        write_atomic(args.out, json.dumps(report, indent=2) + '\n')

    if on_gpu and not args.no_tests:
        report['tests'] = run_tests(args.seconds / 2)
        print('\n'.join(report['tests']['output']), flush=True)
    for group in GROUPS:
        try:
            for name, number, work in group(args.device, args.tiny):
                if time.monotonic() - start > args.seconds:
                    report['left_out'].append(f'{name}, {number}')
                    continue
                rate = rates['float32' if 'float32' in name else 'bfloat16']
                note(measure_row(name, number, work, args, rate))
        except Exception as error:  # a model that cannot be built
            note(dict(work=group.__name__, error=_message(error)))
        gc.collect()
    report['seconds'] = time.monotonic() - start
    write_atomic(args.out, json.dumps(report, indent=2) + '\n')
    failed = [row['work'] for row in report['measured'] if 'error' in row]
    if failed or (report['tests'] or {}).get('status'):
        sys.exit(f'Failed: {", ".join(failed) or "tests"}')


if __name__ == '__main__':
    check(parse_args())
