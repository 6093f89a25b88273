"""Says which files are missing, all in one message, and how to get them."""

import json
import os
import unicodedata

from ..fileio import read_text


def check_files(required, purpose=None):
    """Raises one error that names every missing file or folder and how to get it.

    Args:
        required (Iterable[tuple[str, str]]): Pairs of a path and the remedy when nothing is there.
        purpose (str, optional): What the files are for, for the message's first line.
    """
    missing = {os.fspath(path): remedy for path, remedy in required if not os.path.exists(path)}
    if not missing:
        return
    count = 'file or folder is' if len(missing) == 1 else 'files or folders are'
    lines = [f'{len(missing)} {count} missing{f" for {purpose}" if purpose else ""}:']
    for remedy in dict.fromkeys(missing.values()):
        lines += [f'  {path}' for path in missing if missing[path] == remedy]
        lines.append(f'      {remedy}')
    lines.append(f'Relative paths start in {os.getcwd()}.')
    raise FileNotFoundError('\n'.join(lines))


def on_disk(path):
    """A path as the file system spells it, or else as it is given.

    Lists from Windows have backslashes, those from macOS decomposed letters.
    """
    if (path.isascii() and '\\' not in path) or os.path.exists(path):
        return path
    spellings = [path, path.replace('\\', '/')]
    spellings += [unicodedata.normalize(form, s) for s in spellings for form in ('NFC', 'NFD')]
    return next(filter(os.path.exists, spellings), path)


def dataset_files(cfg):
    """Paths and remedies, for `check_files`, of what a dataset's config and those it wraps need."""
    from mmdet.registry import DATASETS

    required = []
    for inner in cfg.get('datasets', ()):
        required += dataset_files(inner)
    if isinstance(cfg.get('dataset'), dict):
        required += dataset_files(cfg['dataset'])
    if cfg.get('draw'):
        return required  # the small world draws what is missing
    kind = cfg.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    remedy = getattr(kind, 'REMEDY', 'See the data_root, ann_file and data_prefix of your config.')
    root = cfg.get('data_root') or ''
    paths = [cfg.get('ann_file'), cfg.get('names_file'), *(cfg.get('data_prefix') or {}).values()]
    paths += cfg.get('folders') or ()
    required += [(os.path.normpath(os.path.join(root, path)), remedy) for path in paths if path]
    return required


def config_files(cfg, loops=('train', 'val', 'test')):
    """Paths and remedies, for `check_files`, of what the data loaders of a config need."""
    required = []
    for loop in loops:
        loader = cfg.get(f'{loop}_dataloader')
        if loader and isinstance(loader.get('dataset'), dict):
            required += dataset_files(loader['dataset'])
    return required


def read_json(path, remedy):
    """Reads a JSON object; `remedy` says in every error how to get the file.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is truncated, not JSON, not an object, or of another encoding.
    """
    check_files([(path, remedy)])
    text = read_text(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'{path} is truncated or not JSON ({error}); delete it and get it again. {remedy}'
        ) from None
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds a {type(content).__name__}, expected an object. {remedy}')
    return content
