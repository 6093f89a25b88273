"""The files of data sets: which are missing, how to get them, and where the images are."""

import os
import os.path as osp
import unicodedata
from functools import partial

from mmengine.dataset import BaseDataset


def check_files(required, purpose=None):
    """Raises one error that names every missing file or folder and how to get it.

    Args:
        required (Iterable[tuple[str, str]]): Pairs of a path and the remedy when nothing is there.
        purpose (str, optional): What the files are for, for the message's first line.
    """
    missing = {os.fspath(path): remedy for path, remedy in required if not osp.exists(path)}
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
    if (path.isascii() and '\\' not in path) or osp.exists(path):
        return path
    spellings = [path, path.replace('\\', '/')]
    spellings += [unicodedata.normalize(form, s) for s in spellings for form in ('NFC', 'NFD')]
    return next(filter(osp.exists, spellings), path)


def dataset_files(cfg):
    """Paths and remedies, for `check_files`, of what a dataset's config and those it wraps need."""
    from mmdet.registry import DATASETS

    inner = [*cfg.get('datasets', ())]
    if isinstance(cfg.get('dataset'), dict):
        inner.append(cfg['dataset'])
    required = [pair for each in inner for pair in dataset_files(each)]
    kind = cfg.get('type')
    kind = DATASETS.get(kind) if isinstance(kind, str) else kind
    remedy = getattr(kind, 'REMEDY', 'See the data_root, ann_file and data_prefix of your config.')
    paths = [cfg.get('ann_file'), cfg.get('names_file'), *(cfg.get('data_prefix') or {}).values()]
    paths += cfg.get('folders') or ()
    root = cfg.get('data_root') or ''
    return required + [(osp.normpath(osp.join(root, path)), remedy) for path in paths if path]


def config_files(cfg, loops=('train', 'val', 'test')):
    """Paths and remedies, for `check_files`, of what the data loaders of a config need."""
    datasets = [(cfg.get(f'{loop}_dataloader') or {}).get('dataset') for loop in loops]
    return [pair for each in datasets if isinstance(each, dict) for pair in dataset_files(each)]


def leaf_datasets(dataset):
    """The data sets within a wrapper, without those that a mixture draws nothing of."""
    parts = getattr(dataset, 'datasets', None)
    if parts is None:
        parts = [dataset.dataset] if hasattr(dataset, 'dataset') else None
    if parts is None:
        return [dataset]
    ratios = getattr(dataset, 'ratios', None) or [1] * len(parts)
    return [leaf for part, ratio in zip(parts, ratios) if ratio for leaf in leaf_datasets(part)]


def image_paths(dataset):
    """The files of a data set's images in the order of its items.

    Empty where MMEngine fetches them from elsewhere, or for data sets that are not MMEngine's.
    """
    if not isinstance(dataset, BaseDataset) or getattr(dataset, 'backend_args', None):
        return []
    dataset.full_init()
    entry = partial(BaseDataset.get_data_info, dataset)  # that of SA-1B reads annotations
    if len(dataset) and 'img_path' not in entry(0):
        entry = dataset.get_data_info
    paths = (entry(index).get('img_path') for index in range(len(dataset)))
    return [str(path) for path in paths if path and '://' not in str(path)]


def missing_files(paths):
    """Those of several files that are not there, each once; each folder is listed once."""
    folders = {osp.dirname(path) or '.' for path in paths}
    there = {folder: set(os.listdir(folder)) for folder in folders if osp.isdir(folder)}
    return [
        path
        for path in dict.fromkeys(paths)
        if osp.basename(path) not in there.get(osp.dirname(path) or '.', ())
        and not osp.isfile(path)  # a file system may spell names in another way than its lists
    ]
