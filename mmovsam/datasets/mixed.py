"""Several data sets in one training, with one vocabulary."""

import logging

import numpy as np
import torch
from mmdet.datasets import ConcatDataset
from mmdet.registry import DATASETS
from mmdet.visualization import get_palette
from mmengine.logging import print_log

from ..vocabulary import join_vocabularies

_SHOWN = 5  # sentences of each kind in the log


@DATASETS.register_module()
class MixedDataset(ConcatDataset):
    """Data sets of any kind (with masks, with boxes only, with labels of whole images) as one.

    Labels become those of a joint vocabulary, see `mmovsam.vocabulary.join_vocabularies`, whose
    `classes`, `synonyms`, `novel` and `prompts` are the `metainfo`. Each sample's `source` is the
    name of its data set, by which losses are logged. `MixedSampler` draws from it in the ratio that
    is wanted.

    Args:
        datasets (Sequence[dict | Dataset]): The data sets. In its pipeline `PackDetInputs` keeps
            `true_labels` of an `ImageLabelDataset`, and for a federated loss `neg_labels` and
            `not_exhaustive_labels`, if they are among its `meta_keys`.
        names (Sequence[str]): What each is called in the log.
        ratios (Sequence[float], optional): How many images are drawn of each in relation to the
            others; by default equally many. 0 leaves the images out and the classes in.
        unnamed (Sequence[str]): Names of data sets without classes, such as SA-1B: their labels
            become -1, which teaches masks only.
        same (dict): Classes that names cannot join, see `join_vocabularies`.

    Attributes:
        joined (JoinedVocabulary): The joint vocabulary with what was merged and what is in doubt.

    Raises:
        ValueError: If names or ratios are not one for each data set or out of range, or the
            vocabularies cannot be joined.
    """

    def __init__(self, datasets, names, ratios=None, unnamed=(), same=None):
        self.names = tuple(names)
        self.ratios = (1.0,) * len(datasets) if ratios is None else tuple(map(float, ratios))
        self._check(datasets, unnamed)
        # The parent's would compare their metainfo, which differ.
        self.datasets = [
            DATASETS.build(part) if isinstance(part, dict) else part for part in datasets
        ]
        self._fully_initialized = False
        self.full_init()
        about = {name: dataset.metainfo for name, dataset in zip(self.names, self.datasets)}
        named = {name: metainfo for name, metainfo in about.items() if name not in unnamed}
        self.joined = join_vocabularies(named, same)
        self._metainfo = dict(self.joined.metainfo)
        self._metainfo['palette'] = get_palette('random', len(self._metainfo['classes']))
        self._labels = []  # the joint label of each of a data set's own; the last is for -1
        for name, metainfo in about.items():
            unknown = (-1,) * len(metainfo.get('classes', ()))
            self._labels.append(torch.tensor([*self.joined.labels.get(name, unknown), -1]))
        self._report()

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

    def _report(self):
        parts = zip(self.names, self.datasets, self._labels)
        print_log(
            f'{len(self._metainfo["classes"])} classes of '
            + ', '.join(f'{n} ({len(d)} images, {len(own) - 1} classes)' for n, d, own in parts),
            logger='current',
        )
        for kind, sentences, level in (
            ('joined under another name', self.joined.merged, logging.INFO),
            ('in doubt; `same` decides', self.joined.conflicts, logging.WARNING),
        ):
            if sentences:
                shown = '; '.join(sentences[:_SHOWN])
                more = f'; and {len(sentences) - _SHOWN} more' if len(sentences) > _SHOWN else ''
                message = f'{len(sentences)} classes are {kind}: {shown}{more}'
                print_log(message, logger='current', level=level)

    def __getitem__(self, idx):
        """An item of one of the data sets, with joint labels and its `source` in the metainfo."""
        source, index = self._get_ori_dataset_idx(idx)
        item = self.datasets[source][index]
        sample, labels = item['data_samples'], self._labels[source]
        for key in ('gt_instances', 'ignored_instances'):
            instances = sample.get(key)
            if instances is not None and 'labels' in instances:
                instances.labels = labels[instances.labels]
        for key in ('true_labels', 'neg_labels', 'not_exhaustive_labels'):
            if key in sample.metainfo:
                joint = labels[torch.tensor(sample.metainfo[key], dtype=torch.long)]
                sample.set_metainfo({key: tuple(joint.tolist())})
        sample.set_metainfo(dict(source=self.names[source]))
        return item

    @property
    def class_frequencies(self):
        """(K,) float64, how many regions of each class an image drawn in `ratios` has on average.

        Without `class_counts` a data set's classes are equally frequent, one region an image.
        """
        parts = zip(self._joint_counts(), self.datasets, self.ratios)
        return sum(counts * (ratio / sum(self.ratios) / len(part)) for counts, part, ratio in parts)

    @property
    def source_classes(self):
        """(K,) bool, which classes each data set has objects of, by its name.

        One without `class_counts` has them all.
        """
        return {name: counts > 0 for name, counts in zip(self.names, self._joint_counts())}

    def _joint_counts(self):
        """(K,) float64 of each data set."""
        for dataset, labels in zip(self.datasets, self._labels):
            own = labels[:-1].numpy()
            counts = getattr(dataset, 'class_counts', np.full(len(own), len(dataset) / len(own)))
            joint = np.zeros(len(self._metainfo['classes']))
            np.add.at(joint, own[own >= 0], counts[own >= 0])
            yield joint
