"""Convert released files of CLIP, SAM and OVSAM to one checkpoint, or a checkpoint to these."""

import argparse
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
from mmovsam.checkpoints.convert import convert, expected_tensors, export_released
from mmovsam.checkpoints.released import FORMATS
from mmovsam.engine.command_line import add_config_options, readable_errors
from mmovsam.engine.runners import load_config
from mmovsam.validation import require_not_among


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog='A FILE may be an address: https://..., '
        'hf://OWNER/REPOSITORY/FILE of the Hugging Face hub, or open_clip://MODEL:TAG.',
    )
    add = parser.add_argument
    add('--clip', metavar='NAME:TAG|FILE', help="open_clip's model and tag, its file, or OpenAI's")
    add('--sam', metavar='FILE', help='of Segment Anything, such as sam_vit_h_4b8939.pth')
    add('--sam2clip', metavar='FILE', help='released, such as sam2clip_vith_rn50x16.pth')
    add('--clip2sam', metavar='FILE', help='released, such as clip2sam_lvis_rn50x16.pth')
    add('--to-released', metavar='CHECKPOINT', help='write released files of this checkpoint')
    add('--out', required=True, help='.pth or .safetensors file; with --to-released a folder')
    add('--config', default='ovsam_lvis.py', help='config of the model')
    add_config_options(parser, 'model.neck.image_size=512')
    prefixes = dict(nargs='+', default=[], metavar='PREFIX')
    add('--allow-unexpected', **prefixes, help='of names in the files that may be left out')
    add('--allow-missing', **prefixes, help='of names in the model that may be missing')
    args = parser.parse_args()
    args.files = {key: getattr(args, key) for key in FORMATS if getattr(args, key)}
    if bool(args.files) == bool(args.to_released):
        parser.error(f'give some of --{" --".join(FORMATS)}, or --to-released CHECKPOINT')
    return args


def main(args):
    if args.to_released:
        files = export_released(args.to_released, args.out, args.allow_unexpected)
        for key, (path, num_tensors) in files.items():
            print(f'{key}: {num_tensors:,} tensors in {path}')
        return
    require_not_among([args.out], args.files.values())
    target = expected_tensors(load_config(args))
    conversion = convert(args.files, target, args.allow_unexpected, args.allow_missing)
    print(conversion.report())
    conversion.save(args.out)
    print(f'Done. {len(conversion.tensors):,} tensors are in {Path(args.out).resolve()}')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors('Nothing is written.'):
        main(args)
