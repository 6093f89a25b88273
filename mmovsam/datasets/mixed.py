"""Several datasets in one training, with a joint vocabulary."""

import logging

import numpy as np
import torch
from mmdet.datasets import ConcatDataset
from mmdet.registry import DATASETS
from mmdet.visualization import get_palette
from mmengine.logging import print_log

from ..vocabulary import join_vocabularies

_MAX_LOGGED = 5  # sentences of each kind


@DATASETS.register_module()
class MixedDataset(ConcatDataset):
    """A concatenation of datasets with masks, with boxes only, or with image-level labels.

    Labels become those of a joint vocabulary, see `mmovsam.vocabulary.join_vocabularies`, whose
    `classes`, `synonyms`, `novel` and `prompts` are the `metainfo`. Each sample's `source` is the
    name of its dataset, by which losses are logged. `MixedSampler` samples it in given ratios.

    Args:
        datasets (Sequence[dict | Dataset]): The datasets. `meta_keys` of their `PackDetInputs`
            should have `true_labels` for an `ImageLabelDataset`, and `neg_labels` and
            `not_exhaustive_labels` for a federated loss.
        names (Sequence[str]): The name of each in the log.
        ratios (Sequence[float], optional): Relative numbers of images drawn from each; by default
            equal. 0 leaves out the images but not the classes.
        unnamed (Sequence[str]): Names of datasets without classes, such as SA-1B: their labels
            become -1, which trains masks only.
        same (dict): Classes that names cannot join, see `join_vocabularies`.

    Attributes:
        joined (JoinedVocabulary): The joint vocabulary with merged and ambiguous classes.

    Raises:
        ValueError: If there is not one valid name and ratio for each dataset, or the vocabularies
            cannot be joined.
    """

    def __init__(self, datasets, names, ratios=None, unnamed=(), same=None):
        self.names = tuple(names)
        self.ratios = (1.0,) * len(datasets) if ratios is None else tuple(map(float, ratios))
        self._check(datasets, unnamed)
        # not by the parent's constructor, which requires equal metainfo
        self.datasets = [
            DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
            for dataset in datasets
        ]
        self._fully_initialized = False
        self.full_init()
        metainfos = {name: dataset.metainfo for name, dataset in zip(self.names, self.datasets)}
        named = {name: metainfo for name, metainfo in metainfos.items() if name not in unnamed}
        self.joined = join_vocabularies(named, same)
        self._metainfo = dict(self.joined.metainfo)
        self._metainfo['palette'] = get_palette('random', len(self._metainfo['classes']))
        self._joint_labels = []  # by a dataset's labels; the last is for -1
        for name, metainfo in metainfos.items():
            unknown = (-1,) * len(metainfo.get('classes', ()))
            self._joint_labels.append(torch.tensor([*self.joined.labels.get(name, unknown), -1]))
        self._log()

    def _check(self, datasets, unnamed):
        names, count = self.names, len(datasets)
        if len(names) != count or len(set(names)) != count:
            raise ValueError(
                f'names has {names}, expected a different one for each of {count} data sets'
            )
        wrong = [name for name in names if not name.isidentifier() or 'loss' in name]
        if wrong:
            raise ValueError(
                f'{wrong[0]!r} is no name for a data set: it consists of letters, digits and _, '
                'begins with a letter, and has no "loss" in it, which MMEngine would add to the '
                'loss'
            )
        if len(self.ratios) != count or min(self.ratios) < 0 or not sum(self.ratios) > 0:
            raise ValueError(
                f'ratios is {self.ratios}, expected a number for each of {count} data sets, none '
                'below 0 and not all of them 0'
            )
        if not set(unnamed) < set(names):
            raise ValueError(
                f'unnamed is {tuple(unnamed)}, expected some of {names}, not all of them'
            )

    def _log(self):
        sources = ', '.join(
            f'{name} ({len(dataset)} images, {len(labels) - 1} classes)'
            for name, dataset, labels in zip(self.names, self.datasets, self._joint_labels)
        )
        print_log(f'{len(self._metainfo["classes"])} classes of {sources}', logger='current')
        for kind, sentences, level in (
            ('joined under another name', self.joined.merged, logging.INFO),
            ('in doubt; `same` decides', self.joined.conflicts, logging.WARNING),
        ):
            if sentences:
                shown = '; '.join(sentences[:_MAX_LOGGED])
                num_hidden = len(sentences) - _MAX_LOGGED
                more = f'; and {num_hidden} more' if num_hidden > 0 else ''
                message = f'{len(sentences)} classes are {kind}: {shown}{more}'
                print_log(message, logger='current', level=level)

    def __getitem__(self, idx):
        """An item of one of the datasets, with joint labels and its `source` in the metainfo."""
        source, index = self._get_ori_dataset_idx(idx)
        item = self.datasets[source][index]
        sample, joint_labels = item['data_samples'], self._joint_labels[source]
        for key in ('gt_instances', 'ignored_instances'):
            instances = sample.get(key)
            if instances is not None and 'labels' in instances:
                instances.labels = joint_labels[instances.labels]
        for key in ('true_labels', 'neg_labels', 'not_exhaustive_labels'):
            if key in sample.metainfo:
                labels = joint_labels[torch.tensor(sample.metainfo[key], dtype=torch.long)]
                sample.set_metainfo({key: tuple(labels.tolist())})
        sample.set_metainfo(dict(source=self.names[source]))
        return item

    @property
    def class_frequencies(self):
        """(K,) float64, the mean number of regions of each class in an image drawn in `ratios`.

        Classes of a dataset without `class_counts` are equally frequent, one region an image.
        """
        weights = [
            ratio / sum(self.ratios) / len(dataset)
            for ratio, dataset in zip(self.ratios, self.datasets)
        ]
        return sum(counts * weight for counts, weight in zip(self._joint_counts(), weights))

    @property
    def source_classes(self):
        """(K,) bool by dataset name, which classes it has objects of.

        A dataset without `class_counts` has them all.
        """
        return {name: counts > 0 for name, counts in zip(self.names, self._joint_counts())}

    def _joint_counts(self):
        """(K,) float64 of each dataset."""
        for dataset, joint_labels in zip(self.datasets, self._joint_labels):
            labels = joint_labels[:-1].numpy()
            uniform = np.full(len(labels), len(dataset) / len(labels))
            counts = getattr(dataset, 'class_counts', uniform)
            joint_counts = np.zeros(len(self._metainfo['classes']))
            np.add.at(joint_counts, labels[labels >= 0], counts[labels >= 0])
            yield joint_counts
