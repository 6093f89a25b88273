"""The command `mmovsam`: the tools of the package under one name, from any folder.

It is no part of the package `mmovsam`, whose import takes seconds, so that help and the version
come at once.
"""

import argparse
import importlib.util
import runpy
import sys
import types
from pathlib import Path

COMMANDS = {
    'demo': ('demo.py', 'show on photographs what the model cuts out and names'),
    'label': ('auto_label.py', 'label a folder of images'),
    'find': ('find.py', 'find all objects of some names in a folder of images'),
    'semantic': ('semantic.py', 'make maps of classes of images, and measure mIoU'),
    'track': ('track.py', 'follow objects through a clip'),
    'page': ('web_demo.py', 'serve a page on which a click gives a mask and a name'),
    'backend': ('label_studio_backend.py', 'serve a model to Label Studio'),
    'serve': ('serve.py', 'serve a model over HTTP, to programs of any language'),
    'test': ('test.py', 'test a model on a data set'),
    'train': ('train.py', 'train a model'),
    'export': ('export.py', 'write a model as ONNX files'),
    'download': ('download.py', 'fetch a pretrained model, or list them'),
    'convert': ('convert_checkpoint.py', 'make one checkpoint of the files of CLIP, SAM and OVSAM'),
    'vocabulary': ('build_vocabulary.py', 'build a text classifier of names'),
}
"""By each command its tool and what it does."""
_NEEDED = {'mmengine': 'mmengine', 'mmcv': 'mmcv', 'mmdet': 'mmdet', 'torch': 'torch'}


def main(argv=None):
    """Run a command.

    Args:
        argv (list[str] | None): The arguments after `mmovsam`; by default those of the process.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog='mmovsam',
        description='Open-Vocabulary SAM: cut out what boxes and clicks point at, and name it.',
        epilog='mmovsam COMMAND --help says what a command takes.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'mmovsam {_version()}')
    commands = parser.add_subparsers(title='commands', metavar='COMMAND', dest='command')
    for name, (_, about) in COMMANDS.items():
        commands.add_parser(name, help=about, add_help=False, prefix_chars='\0')
    if not argv:
        parser.print_help()
        raise SystemExit(2)
    command = parser.parse_args(argv[:1]).command
    tool = _tool(COMMANDS[command][0])
    before, sys.argv = sys.argv, [f'mmovsam {command}', *argv[1:]]
    try:
        _run(tool)
    except KeyboardInterrupt:  # while it is imported
        raise SystemExit(130) from None
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        print(
            f'error: {error.name} is not installed, which mmovsam {command} needs: see Install in '
            'the README.',
            file=sys.stderr,
        )
        raise SystemExit(2) from error
    finally:
        sys.argv = before


def _run(tool):
    """Run a file as the main module; `runpy` would put its name into the messages of argparse."""
    main_module = types.ModuleType('__main__')
    main_module.__file__ = str(tool)
    before, sys.modules['__main__'] = sys.modules['__main__'], main_module
    try:
        exec(compile(tool.read_bytes(), str(tool), 'exec'), vars(main_module))
    finally:
        sys.modules['__main__'] = before


def _homes():
    """Folders of the package `mmovsam`, without importing it."""
    spec = importlib.util.find_spec('mmovsam')
    return [Path(home) for home in (spec.submodule_search_locations or ())] if spec else []


def _version():
    for home in _homes():
        if (home / 'version.py').is_file():
            return runpy.run_path(str(home / 'version.py'))['__version__']
    return 'unknown'


def _tool(name):
    """A tool in the wheel, or beside the package in a checkout."""
    places = [home / '.mim' / 'tools' / name for home in _homes()]
    places += [home.parent / 'tools' / name for home in _homes()]
    for place in places:
        if place.is_file():
            return place
    raise SystemExit(f'error: the tools of mmovsam are not there: {", ".join(map(str, places))}')


if __name__ == '__main__':
    main()
