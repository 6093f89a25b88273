"""The files of datasets: which are missing, how to get them, and where the images are."""

import os
import os.path as osp
import unicodedata
from functools import partial

from mmengine.dataset import BaseDataset

from ..config_files import wrapped_datasets


def check_files(required, purpose=None):
    """Raise one `FileNotFoundError` that names every missing file or folder and how to get it.

    Args:
        required (Iterable[tuple[str, str]]): Pairs of a path and how to get it.
        purpose (str, optional): What the files are for.
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
    """The spelling of a path that exists, with slashes for backslashes and composed letters or not.

    Lists from Windows have backslashes, those from macOS decomposed letters. A path that exists in
    no spelling is returned as it is.
    """
    if (path.isascii() and '\\' not in path) or osp.exists(path):
        return path
    spellings = [path, path.replace('\\', '/')]
    spellings += [unicodedata.normalize(form, s) for s in spellings for form in ('NFC', 'NFD')]
    return next(filter(osp.exists, spellings), path)


def dataset_files(cfg):
    """Paths and remedies, for `check_files`, of the files that a dataset's config needs."""
    from mmdet.registry import DATASETS

    required = [pair for inner in wrapped_datasets(cfg) for pair in dataset_files(inner)]
    dataset_type = cfg.get('type')
    if isinstance(dataset_type, str):
        dataset_type = DATASETS.get(dataset_type)
    remedy = getattr(
        dataset_type, 'REMEDY', 'See the data_root, ann_file and data_prefix of your config.'
    )
    paths = [cfg.get('ann_file'), cfg.get('names_file'), *(cfg.get('data_prefix') or {}).values()]
    paths += cfg.get('folders') or ()
    root = cfg.get('data_root') or ''
    return required + [(osp.normpath(osp.join(root, path)), remedy) for path in paths if path]


def config_files(cfg, loops=('train', 'val', 'test')):
    """Paths and remedies, for `check_files`, of the files that a config's data loaders need."""
    datasets = [(cfg.get(f'{loop}_dataloader') or {}).get('dataset') for loop in loops]
    datasets = [dataset for dataset in datasets if isinstance(dataset, dict)]
    return [pair for dataset in datasets for pair in dataset_files(dataset)]


def leaf_datasets(dataset):
    """The datasets within wrappers, without those of ratio 0 in a mixture."""
    wrapped = getattr(dataset, 'datasets', None)
    if wrapped is None:
        if not hasattr(dataset, 'dataset'):
            return [dataset]
        wrapped = [dataset.dataset]
    ratios = getattr(dataset, 'ratios', None) or [1] * len(wrapped)
    return [leaf for inner, ratio in zip(wrapped, ratios) if ratio for leaf in leaf_datasets(inner)]


def image_paths(dataset):
    """Paths of a dataset's images in the order of its items.

    Empty for other backends than local files, and for datasets that are not MMEngine's.
    """
    if not isinstance(dataset, BaseDataset) or getattr(dataset, 'backend_args', None):
        return []
    dataset.full_init()
    get_data_info = partial(BaseDataset.get_data_info, dataset)  # SA-1B's reads annotations
    if len(dataset) and 'img_path' not in get_data_info(0):
        get_data_info = dataset.get_data_info
    paths = (get_data_info(index).get('img_path') for index in range(len(dataset)))
    return [str(path) for path in paths if path and '://' not in str(path)]


def missing_files(paths):
    """The distinct paths at which there is no file; each folder is listed only once."""
    folders = {osp.dirname(path) or '.' for path in paths}
    listings = {folder: set(os.listdir(folder)) for folder in folders if osp.isdir(folder)}
    return [
        path
        for path in dict.fromkeys(paths)
        if osp.basename(path) not in listings.get(osp.dirname(path) or '.', ())
        and not osp.isfile(path)  # file systems may find other spellings than they list
    ]
