"""COCO's JSON layout, and COCO with its split of 48 base and 17 novel categories."""

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from .open_vocab import OpenVocabDataset

BASE_CLASSES = (
    'person', 'bicycle', 'car', 'motorcycle', 'truck', 'boat', 'bench', 'bird', 'horse',
    'sheep', 'zebra', 'giraffe', 'backpack', 'handbag', 'skis', 'kite', 'surfboard', 'bottle',
    'spoon', 'bowl', 'banana', 'apple', 'orange', 'broccoli', 'carrot', 'pizza', 'donut',
    'chair', 'bed', 'tv', 'laptop', 'remote', 'microwave', 'oven', 'refrigerator', 'book',
    'clock', 'vase', 'toothbrush', 'train', 'bear', 'suitcase', 'frisbee', 'fork', 'sandwich',
    'toilet', 'mouse', 'toaster',
)  # fmt: skip
NOVEL_CLASSES = (
    'bus', 'dog', 'cow', 'elephant', 'umbrella', 'tie', 'skateboard', 'cup', 'knife', 'cake',
    'couch', 'keyboard', 'sink', 'scissors', 'airplane', 'cat', 'snowboard',
)  # fmt: skip


def _metainfo():
    """The 65 classes in the order of COCO's category ids, with COCO's colors."""
    names, colors = CocoDataset.METAINFO['classes'], CocoDataset.METAINFO['palette']
    indices = [i for i, name in enumerate(names) if name in BASE_CLASSES + NOVEL_CLASSES]
    return dict(
        classes=tuple(names[i] for i in indices),
        novel=tuple(names[i] in NOVEL_CLASSES for i in indices),
        palette=[colors[i] for i in indices],
    )


@DATASETS.register_module()
class CocoJsonDataset(OpenVocabDataset):
    """Any annotation file in COCO's JSON layout, with its classes.

    Arguments are those of `OpenVocabDataset`; without `novel` there is no split.
    `metainfo=dict(classes=...)` selects and reorders classes.
    """


@DATASETS.register_module()
class OVCocoDataset(OpenVocabDataset):
    """COCO 2017 with 48 base and 17 novel classes; annotations of the other 15 are left out.

    Arguments are those of `OpenVocabDataset`.
    """

    METAINFO = _metainfo()
    REMEDY = (
        'COCO 2017: get train2017, val2017 and the annotations from '
        'https://cocodataset.org/#download, and set data_root in configs/_base_/datasets to their '
        'folder.'
    )

    def category_info(self, categories):
        """Classes of the file; the other 15 of COCO are neither base nor novel."""
        kinds = {**dict.fromkeys(BASE_CLASSES, False), **dict.fromkeys(NOVEL_CLASSES, True)}
        names = tuple(category['name'] for category in categories)
        return dict(classes=names, novel=tuple(map(kinds.get, names)))
