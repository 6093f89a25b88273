"""LVIS v1, by its annotation files."""

from mmdet.registry import DATASETS

from .annotations import text
from .open_vocab import OpenVocabDataset


@DATASETS.register_module()
class OVLVISDataset(OpenVocabDataset):
    """LVIS v1 with its rare categories as novel ones.

    Classes, synonyms and frequencies come from the annotation file, and an image's path from the
    end of its `coco_url` (`train2017/000000391895.jpg`). Arguments are those of `OpenVocabDataset`.
    """

    REMEDY = (
        'LVIS v1: get lvis_v1_{train,val}.json from https://www.lvisdataset.org/dataset and the '
        'images train2017 and val2017 from https://cocodataset.org/#download, and set data_root in '
        'configs/_base_/datasets to their folder.'
    )

    def image_path(self, image):
        """The last two parts of `coco_url`, by default `file_name`."""
        if 'coco_url' in image:
            return '/'.join(text(image, 'coco_url', f'image {image["id"]}').split('/')[-2:])
        return super().image_path(image)

    def category_info(self, categories):
        """Classes, novel (`frequency` is `'r'`) and synonyms of the file."""
        frequencies = [text(c, 'frequency', f'category {c["name"]!r}') for c in categories]
        synonyms = [c.get('synonyms', [c['name']]) for c in categories]
        for category, names in zip(categories, synonyms):
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError(
                    f'category {category["name"]!r} has synonyms {names!r}, expected a list of '
                    'names'
                )
        return dict(
            classes=tuple(category['name'] for category in categories),
            novel=tuple(frequency == 'r' for frequency in frequencies),
            synonyms=tuple(map(tuple, synonyms)),
        )
