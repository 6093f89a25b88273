"""Data of one's own in COCO's JSON layout."""

from mmdet.registry import DATASETS

from .open_vocab import OpenVocabDataset


@DATASETS.register_module()
class CocoJsonDataset(OpenVocabDataset):
    """Any annotation file in COCO's JSON layout, with the classes that it names.

    Args:
        **kwargs: As `OpenVocabDataset`, of which `novel` says what is novel: without it the
            classes have no such split. `metainfo=dict(classes=...)` chooses some of the file's
            classes, in another order.
    """

    def category_info(self, categories):
        """Classes of the file."""
        return dict(classes=tuple(category['name'] for category in categories))
