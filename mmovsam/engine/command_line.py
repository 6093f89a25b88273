"""Shared parts of the command lines in `tools/`: arguments, predictors, one-line errors."""

import argparse
import contextlib
import getpass
import ipaddress
import os
import re
import sys

import torch
from mmengine.config import Config, DictAction

from ..apis import OVSAMPredictor
from ..apis.tiles import TILE_OVERLAP
from ..checkpoints import safe_loading
from ..devices import allow_tf32, choose_device, describe_device, half_precision
from ..models.prepare import prepare_for_inference
from ..pixels import checked_range
from ..vocabulary import Vocabulary

TRACEBACK_SWITCH = 'MMOVSAM_TRACEBACK'
PASSWORD_VARIABLE = 'MMOVSAM_PASSWORD'
NAME_FILES = ('.txt', '.csv', '.tsv', '.json', '.yaml', '.yml')


class OptionsAction(DictAction):
    """MMEngine's `key=value` pairs, where a malformed one is an error of the command line."""

    def __call__(self, parser, namespace, values, option_string=None):
        for value in values:
            if '=' not in value.lstrip('='):
                parser.error(f'{option_string} expects key=value, got {value!r}')
        try:
            super().__call__(parser, namespace, values, option_string)
        except (ValueError, AssertionError) as error:
            parser.error(f'{option_string} {" ".join(values)}: {error}')


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags that training and testing share with MMDetection's tools."""
    parser.add_argument('--work-dir', help='folder for logs and results')
    add_config_options(
        parser, 'train_cfg.max_epochs=2 or a list as key="[a,b]", without white space'
    )
    parser.add_argument(
        '--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='of jobs'
    )
    # torch.distributed.launch passes --local-rank, and passed --local_rank before PyTorch 2
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)


def add_config_options(parser: argparse.ArgumentParser, example: str) -> None:
    """Add `--cfg-options`, which `load_config` applies."""
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        help=f'override settings of the config, e.g. {example}',
    )


def add_device_arguments(parser: argparse.ArgumentParser, half: bool = True) -> None:
    """Add `--device` and, with `half`, `--half`."""
    parser.add_argument(
        '--device', help='cpu, cuda, or cuda:1 for one GPU (default: cuda if there is one)'
    )
    if half:
        parser.add_argument(
            '--half',
            action='store_true',
            help='run the image encoder in half precision: faster on GPUs, and on CPUs that '
            'compute in bfloat16',
        )


def add_model_arguments(parser: argparse.ArgumentParser, value_range: bool = True) -> None:
    """Add the flags of `load_predictor`, by default with `--value-range`."""
    parser.add_argument(
        '--config',
        default='photo/ovsam_photo.py',
        help='of OVSAM, or the name of a pretrained model; by default the small one of photographs',
    )
    parser.add_argument(
        '--checkpoint',
        help="weights: a file, an address or the name of a pretrained model; without, the config's",
    )
    add_device_arguments(parser)
    if value_range:
        add_value_range(parser)


def add_value_range(parser: argparse.ArgumentParser) -> None:
    """Add `--value-range`, the predictor's `value_range` for images of more than 8 bits."""
    parser.add_argument(
        '--value-range',
        nargs=2,
        type=float,
        metavar=('LOW', 'HIGH'),
        help='values that are black and white in images of more than 8 bits, e.g. 0 4095 '
        '(default: the 0.5th and the 99.5th percentile of each image)',
    )


def add_prompter_options(parser: argparse.ArgumentParser, help: str) -> None:
    """Add `--prompter-options`, see `prompter_options`."""
    parser.add_argument(
        '--prompter-options',
        nargs='+',
        action=OptionsAction,
        metavar='KEY=VALUE',
        default={},
        help=help,
    )


def prompter_options(args: argparse.Namespace, **more) -> dict:
    """The arguments of a prompter, updated by `more`; `a.b=1` becomes `a=dict(b=1)`."""
    options = Config()
    options.merge_from_dict(dict(args.prompter_options, **more))
    return options.to_dict()


def add_tile_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `--tile-size` and `--tile-overlap`, see `tile_options`."""
    add = parser.add_argument
    add('--tile-size', type=int, metavar='PIXELS', help='side of overlapping tiles of large images')
    add(
        '--tile-overlap',
        type=float,
        default=TILE_OVERLAP,
        help='of neighboring tiles, as a share of their side (default: %(default)s)',
    )


def tile_options(args: argparse.Namespace) -> dict:
    """The arguments of everything-mode in tiles; empty without `--tile-size`."""
    if args.tile_size is None:
        return {}
    return dict(tile_size=args.tile_size, tile_overlap=args.tile_overlap)


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a server's `--host` and `--password`, see `password_of`."""
    add = parser.add_argument
    add(
        '--host',
        default='127.0.0.1',
        help='address to listen on; 0.0.0.0 lets other machines in (default: %(default)s)',
    )
    add(
        '--password',
        action='store_true',
        help='ask for a password, which whoever uses the server has to know; it can also be in the '
        f'environment, as {PASSWORD_VARIABLE}',
    )


def add_limit_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a server's limits of requests and memory, see `limits_of`."""
    add = parser.add_argument
    add('--max-file-size', type=float, default=20, help='of a picture, in MB (%(default)s)')
    add('--max-pixels', type=float, default=64, help='of a picture, in millions (%(default)s)')
    add(
        '--forget-after',
        type=float,
        default=60,
        help="minutes without use, after which a user's picture is forgotten (%(default)s)",
    )
    add(
        '--max-memory',
        type=float,
        default=1024,
        help='for the encoded images and names of all users, in MB (%(default)s)',
    )


def limits_of(args: argparse.Namespace) -> dict:
    """The limits of `add_limit_arguments` in bytes, pixels and seconds."""
    return dict(
        max_memory=round(args.max_memory * 2**20),
        max_file_size=round(args.max_file_size * 2**20),
        max_pixels=round(args.max_pixels * 10**6),
        forget_after=args.forget_after * 60,
    )


def password_of(args: argparse.Namespace) -> str | None:
    """The password of `add_network_arguments`, or None; warns if the server is open to all.

    It is typed or read from the environment: all users of a machine can see arguments.
    """
    password = os.environ.get(PASSWORD_VARIABLE) or None
    if args.password and password is None:
        password = getpass.getpass('Password of this server: ')
    if password is None and not _is_local(args.host):
        print(
            f'warning: without a password everybody who reaches {args.host} can use this server: '
            f'give --password, or set {PASSWORD_VARIABLE}.',
            file=sys.stderr,
        )
    return password


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def load_predictor(args: argparse.Namespace, load=OVSAMPredictor.from_config, **settings):
    """A predictor from the flags of a command.

    `load` is called with a config, a checkpoint, a device and the settings. It returns a predictor,
    or a tuple that begins with one, which is returned.

    Raises:
        ValueError, FileNotFoundError, DownloadError: See `OVSAMPredictor.from_config`.
    """
    value_range = checked_range(getattr(args, 'value_range', None))
    loaded = load(args.config, args.checkpoint, device_of(args), **settings)
    predictor = loaded[0] if isinstance(loaded, tuple) else loaded
    if getattr(args, 'half', False):
        allow_tf32()
        prepare_for_inference(predictor.model, half_precision(predictor.device))
    predictor.value_range = value_range
    return loaded


def names_of(names: list[str] | None) -> list[str] | None:
    """The names of a command line, or those of a file that is named in their place.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It has no list of names.
    """
    if names is None or len(names) != 1:
        return names
    is_file = os.path.isfile(names[0]) or names[0].lower().endswith(NAME_FILES)
    return list(Vocabulary.from_file(names[0]).names) if is_file else names


def device_of(args: argparse.Namespace) -> torch.device:
    """The device of `add_device_arguments`; prints it.

    Raises:
        ValueError: There is no such device.
    """
    device = choose_device(args.device)
    dtype = half_precision(device) if getattr(args, 'half', False) else torch.float32
    if int(os.environ.get('LOCAL_RANK', 0)) == 0:
        print(describe_device(device, dtype), flush=True)
    return device


@contextlib.contextmanager
def readable_errors(when_stopped: str = ''):
    """Print user errors as one line and exit with status 2.

    `MMOVSAM_TRACEBACK=1` leaves errors as they are. `when_stopped` is added to the message after
    Ctrl-C. Characters that the terminal cannot show are escaped. Checkpoints are read as data, see
    `safe_loading`.
    """
    if hasattr(sys.stdout, 'reconfigure'):
        sys.stdout.reconfigure(errors='backslashreplace')
    try:
        with safe_loading():
            yield
    except KeyboardInterrupt:
        print(f'\nStopped. {when_stopped}'.rstrip(), file=sys.stderr)
        raise SystemExit(130) from None
    except (OSError, ValueError, KeyError, TypeError, ImportError, OverflowError) as error:
        if os.environ.get(TRACEBACK_SWITCH, '0') not in ('', '0'):
            raise
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        # PyTorch wraps errors of data loader workers in the worker's traceback
        inner = re.match(r'Caught .*Original Traceback .*\n[\w.]+: (.*)', str(text), re.DOTALL)
        message = (inner[1] if inner else str(text)).strip() or type(error).__name__
        print(f'error: {message}\n({TRACEBACK_SWITCH}=1 shows where)', file=sys.stderr)
        raise SystemExit(2) from error
