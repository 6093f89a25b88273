"""Where the images of data sets are, and names for what is made of them."""

import os
import os.path as osp
from collections import defaultdict
from functools import partial

from mmengine.dataset import BaseDataset


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
    by_folder = defaultdict(dict)
    for path in paths:
        by_folder[osp.dirname(path)][path] = None
    missing = []
    for folder, files in by_folder.items():
        try:
            there = set(os.listdir(folder or '.'))
        except OSError:
            there = ()
        # a file system may spell names in another way than its lists
        missing += [
            path for path in files if osp.basename(path) not in there and not osp.isfile(path)
        ]
    return missing


def result_names(paths):
    """For each image a relative path for what is made of it.

    The file's name alone if no two images have the same, else its path below their common folder.
    """
    paths = list(dict.fromkeys(paths))
    names = [osp.basename(path) for path in paths]
    if len({name.casefold() for name in names}) < len(names):
        full = [osp.abspath(path) for path in paths]
        common = osp.commonpath([osp.dirname(path) for path in full])
        names = [osp.relpath(path, common) for path in full]
    return dict(zip(paths, names))
