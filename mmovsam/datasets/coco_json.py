"""Data of one's own in COCO's JSON layout."""

from mmdet.registry import DATASETS

from .open_vocab import OpenVocabDataset, novel_flags


@DATASETS.register_module()
class CocoJsonDataset(OpenVocabDataset):
    """Any annotation file in COCO's JSON layout, with the classes that it names.

    Args:
        novel (Sequence[str], optional): Names of the novel classes; all others are base. Without
            it the classes have no such split.
        **kwargs: As `OpenVocabDataset`; `metainfo=dict(classes=...)` chooses some of the file's
            classes, in another order.
    """

    def __init__(self, *args, novel=None, **kwargs):
        self.novel = novel
        super().__init__(*args, **kwargs)

    def category_info(self, categories):
        """Classes of the file, and which of them are novel where names are given."""
        names = tuple(category['name'] for category in categories)
        if self.novel is None:
            return dict(classes=names)
        return dict(classes=names, novel=novel_flags(names, self.novel))
