"""Configs and runners of the commands that train and test."""

import argparse
import difflib
import inspect
import os
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import is_distributed
from mmengine.registry import LOOPS, RUNNERS, init_default_scope
from mmengine.runner import IterBasedTrainLoop, Runner

from ..checkpoints.required import weight_files
from ..datasets.files import check_files, config_files
from ..pretrained import MODELS, config_path, read_config
from .processes import start_gloo
from .resume import ResumableEpochLoop, ResumableIterLoop

_WORKER_OPTIONS = ('persistent_workers', 'prefetch_factor', 'timeout', 'multiprocessing_context')


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
