"""Pictures of the small world with labels for the whole of them."""

from mmdet.registry import DATASETS
from mmengine.dist import barrier, is_main_process

from .image_label import ImageLabelDataset
from .mini_world import CATEGORIES, write_pictures


@DATASETS.register_module()
class MiniWorldImageLabels(ImageLabelDataset):
    """Pictures of one object each with its name, novel ones too, in a folder for each class.

    Args:
        draw (dict): `num_images`, `seed` and further arguments of
            `mmovsam.datasets.mini_world.write_pictures`, which draws the pictures into `data_root`
            if they are not there.
        **kwargs: As `ImageLabelDataset`, without folders.
    """

    METAINFO = dict(classes=tuple(category.name for category in CATEGORIES))

    def __init__(self, *args, draw, **kwargs):
        self.draw = draw
        super().__init__(*args, **kwargs)

    def load_data_list(self):
        """Draws the pictures if they are missing, then lists them."""
        if is_main_process():
            write_pictures(self.data_root, **self.draw)
        barrier()
        # where they are; nothing is drawn again
        folder = write_pictures(self.data_root, **self.draw)
        self.data_prefix = dict(img=str(folder))
        return super().load_data_list()
