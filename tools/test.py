"""Test a model, with MMDetection's flags, with or without GPUs."""

import argparse

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from mmengine.device import get_device
from mmovsam.checkpoints import names_all_weights
from mmovsam.devices import describe_device, half_precision, precision
from mmovsam.engine.command_line import add_common_arguments, readable_errors
from mmovsam.engine.runners import build_runner, load_config
from mmovsam.pretrained import MODELS, checkpoint_file


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or the name of a pretrained model')
    parser.add_argument('checkpoint', nargs='?', help='file, address or name of a model')
    parser.add_argument('--out', help='dump the predictions to this .pkl file')
    parser.add_argument('--show', action='store_true', help='show the predictions')
    parser.add_argument('--show-dir', help='save pictures in work_dir/timestamp/SHOW_DIR')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds a picture is shown')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation of the config')
    parser.add_argument('--half', action='store_true', help='half precision of the encoder')
    add_common_arguments(parser)
    return parser.parse_args()


def apply_flags(cfg, args):
    if args.checkpoint is not None:
        cfg.load_from = checkpoint_file(args.checkpoint)
    elif not cfg.get('load_from') and not names_all_weights(cfg.model):
        raise ValueError(
            f'{args.config} names no weights (load_from): give a checkpoint file, or the name of a '
            f'pretrained model ({", ".join(MODELS)}).'
        )
    if args.show or args.show_dir:
        hook = cfg.get('default_hooks', {}).get('visualization')
        if hook is None:
            raise ValueError(f'{args.config} has no default_hooks.visualization to draw with.')
        if hook.type == 'DetVisualizationHook':
            hook.type = 'PictureHook'
        hook.update(draw=True, show=args.show, wait_time=args.wait_time)
        if args.show_dir:
            hook.test_out_dir = args.show_dir
    if args.tta:
        missing = [key for key in ('tta_model', 'tta_pipeline') if key not in cfg]
        if missing:
            raise ValueError(f'--tta needs {" and ".join(missing)} in {args.config}.')
        cfg.model = dict(**cfg.tta_model, module=cfg.model)
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    if args.half:
        dtype = str(half_precision(torch.device(get_device()))).removeprefix('torch.')
        hooks = cfg.get('default_hooks') or {}
        prepare = dict(hooks.get('prepare') or {}, type='PrepareForInferenceHook', dtype=dtype)
        cfg.default_hooks = dict(hooks, prepare=prepare)
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        raise ValueError(f'--out expects a .pkl file, got {args.out}.')


def test(args):
    cfg = load_config(args)
    apply_flags(cfg, args)
    runner = build_runner(cfg, training=False)
    if runner.rank == 0:
        device = torch.device(get_device())
        prepare = (cfg.get('default_hooks') or {}).get('prepare') or {}
        print(describe_device(device, precision(prepare.get('dtype', 'float32'), device)))
    if args.out:
        from mmdet.evaluation import DumpDetResults

        runner.test_evaluator.metrics.append(DumpDetResults(out_file_path=args.out))
    runner.test()
    if runner.rank == 0:
        print(f'Done. Logs and pictures are in {runner.log_dir}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('Nothing is kept of a test that is stopped.'):
        test(args)
