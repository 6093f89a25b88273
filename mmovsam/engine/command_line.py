"""Shared parts of the command lines in `tools/`: arguments, configs, one-line errors."""

import argparse
import contextlib
import difflib
import getpass
import inspect
import ipaddress
import os
import re
import sys
from pathlib import Path

import torch
from mmengine.config import Config, DictAction
from mmengine.dist import is_distributed
from mmengine.registry import LOOPS, RUNNERS, init_default_scope
from mmengine.runner import IterBasedTrainLoop, Runner

from ..apis import OVSAMPredictor
from ..apis.tiles import TILE_OVERLAP
from ..checkpoints import safe_loading
from ..checkpoints.required import weight_files
from ..datasets.files import check_files, config_files
from ..devices import allow_tf32, choose_device, describe_device, half_precision
from ..models.prepare import prepare_for_inference
from ..pixels import checked_range
from ..pretrained import MODELS, config_path, read_config
from ..vocabulary import Vocabulary
from .processes import start_gloo
from .resume import ResumableEpochLoop, ResumableIterLoop

TRACEBACK_SWITCH = 'MMOVSAM_TRACEBACK'
PASSWORD_VARIABLE = 'MMOVSAM_PASSWORD'
NAME_FILES = ('.txt', '.csv', '.tsv', '.json', '.yaml', '.yml')
_WORKER_OPTIONS = ('persistent_workers', 'prefetch_factor', 'timeout', 'multiprocessing_context')


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


def load_config(args: argparse.Namespace) -> Config:
    """Read the config of a command and apply its flags of `add_common_arguments`.

    Raises:
        FileNotFoundError: The config does not exist.
        ValueError: It cannot be read or an option's key is unknown.
    """
    path = config_path(args.config)
    os.environ.setdefault('LOCAL_RANK', str(getattr(args, 'local_rank', 0)))
    cfg = read_config(args.config, weights=getattr(args, 'checkpoint', None) is None)
    if args.cfg_options:
        _check_option_keys(cfg, args.cfg_options)
        cfg.merge_from_dict(args.cfg_options)
    _load_in_process(cfg)
    cfg.launcher = getattr(args, 'launcher', 'none')
    if getattr(args, 'work_dir', None) is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        name = args.config if args.config in MODELS else path.stem
        cfg.work_dir = str(Path('work_dirs') / name)
    return cfg


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


def build_runner(cfg: Config, training: bool) -> Runner:
    """Build the runner of a config with `launcher`, also on machines without a GPU.

    Raises:
        FileNotFoundError: Data or weights are missing; one message names all of them.
    """
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    loops = ('train', 'val') if training else ('test',)
    check_files([*config_files(cfg, loops), *weight_files(cfg, training)], 'this config')
    if training and 'optim_wrapper' in cfg:
        cfg.optim_wrapper = fit_precision(cfg.optim_wrapper)
    if cfg.launcher != 'none' and not torch.cuda.is_available():
        _start_gloo(cfg)
    hooks = cfg.get('default_hooks') or {}
    cfg.default_hooks = {'image_check': dict(type='ImageCheckHook'), **hooks}
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    if training:
        _check_loop(runner)
    return runner


def fit_precision(optim_wrapper: dict) -> dict:
    """Adapt an optimizer wrapper that asks for bfloat16 or float32 to this machine.

    MMEngine has mixed precision on GPUs only: a CPU trains in float32. GPUs without bfloat16 train
    in float16, with a scaled loss.
    """
    settings = dict(optim_wrapper)
    dtype = settings.get('dtype')
    if settings.get('type') != 'AmpOptimWrapper' or dtype not in ('bfloat16', 'float32'):
        return optim_wrapper
    if dtype == 'float32' or not torch.cuda.is_available():
        for key in ('dtype', 'loss_scale', 'use_fsdp'):
            settings.pop(key, None)
        return dict(settings, type='OptimWrapper')
    if not torch.cuda.is_bf16_supported():
        settings.update(dtype='float16', loss_scale='dynamic')
    return settings


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


def _check_loop(runner: Runner) -> None:
    """Warn of a loop that cannot be resumed exactly."""
    settings = runner.cfg.get('train_cfg') or {}
    by_epoch = settings.get('by_epoch')
    kind = settings.get('type', 'EpochBasedTrainLoop' if by_epoch else 'IterBasedTrainLoop')
    loop = kind if isinstance(kind, type) else LOOPS.get(kind)
    if loop is None or issubclass(loop, ResumableEpochLoop | ResumableIterLoop):
        return  # MMEngine reports an unknown loop
    alternative = (
        'ResumableIterLoop' if issubclass(loop, IterBasedTrainLoop) else 'ResumableEpochLoop'
    )
    runner.logger.warning(
        f'train_cfg.type is {loop.__name__}: if this training is killed, --resume goes on with '
        'other random numbers, and from the middle of an epoch with other images. '
        f'{alternative}, with the same settings, goes on exactly.'
    )


def _check_option_keys(cfg: Config, options) -> None:
    """Reject unknown keys, which would silently be added to the config."""
    known = set(cfg.keys()) | set(inspect.signature(Runner.__init__).parameters) - {'self'}
    known |= {'runner_type', 'model_wrapper_cfg', 'find_unused_parameters', 'sync_bn', 'compile'}
    known |= {'tta_model', 'tta_pipeline', 'data_root', 'backend_args', 'strategy'}
    for key in options:
        top = key.split('.')[0]
        if top not in known:
            near = difflib.get_close_matches(top, known, n=1)
            hint = f'Did you mean {near[0]!r}?' if near else f'Known: {", ".join(sorted(known))}.'
            raise ValueError(f'Unknown config key {top!r} in --cfg-options {key}. {hint}')


def _load_in_process(cfg: Config) -> None:
    """Drop worker settings of loaders without workers, which PyTorch rejects."""
    for loop in ('train', 'val', 'test'):
        loaders = cfg.get(f'{loop}_dataloader') or []
        for loader in loaders if isinstance(loaders, list) else [loaders]:
            for key in () if loader.get('num_workers') else _WORKER_OPTIONS:
                loader.pop(key, None)


def _start_gloo(cfg: Config) -> None:
    """Create the process group and the model wrapper, for which MMEngine would need CUDA."""
    if cfg.launcher != 'pytorch':
        raise ValueError(f'--launcher {cfg.launcher} needs GPUs; on CPU use --launcher pytorch.')
    missing = [name for name in ('RANK', 'WORLD_SIZE', 'MASTER_ADDR') if name not in os.environ]
    if missing:
        raise ValueError(
            f'--launcher pytorch expects {", ".join(missing)} in the environment. Start the '
            'command with: python -m torch.distributed.run --nproc_per_node=2 tools/...'
        )
    if not is_distributed():
        start_gloo()
    wrapper = dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get('find_unused_parameters', False),
    )
    cfg.model_wrapper_cfg = {**wrapper, **(cfg.get('model_wrapper_cfg') or {})}
