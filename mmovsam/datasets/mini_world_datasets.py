"""The small world as data sets: scenes, pictures in folders, and pictures drawn when asked for."""

import numpy as np
import torch
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset

from .image_label import ImageLabelDataset
from .mini_world import CATEGORIES, draw_picture, write_pictures, write_split
from .ov_lvis import OVLVISDataset

_NAMES = tuple(category.name for category in CATEGORIES)
_STREAM = 3  # keeps pictures apart from the scenes of the same seed, whose streams are 0 to 2


@DATASETS.register_module()
class MiniWorldDataset(OVLVISDataset):
    """The small world, drawn by `dev/make_mini_world.py` and written in LVIS's format.

    Args:
        draw (dict): `split`, `num_images` and `seed` of a split that is drawn into
            `data_root` if it is not there; None draws nothing.
        **kwargs: As `OpenVocabDataset`.
    """

    REMEDY = (
        'Small world: python dev/make_mini_world.py DATA_ROOT --split {train,val,test} '
        '--num-images N --seed S draws it, where DATA_ROOT is the data_root of your config; make '
        'mini does so too.'
    )
    METAINFO = dict(classes=_NAMES)

    def __init__(self, *args, draw=None, **kwargs):
        self.draw = draw
        super().__init__(*args, **kwargs)

    def load_data_list(self):
        """Draws the split if it is missing, then loads it."""
        if self.draw is not None:  # one process draws while the others wait
            write_split(self.data_root, **self.draw)
        return super().load_data_list()


@DATASETS.register_module()
class MiniWorldImageLabels(ImageLabelDataset):
    """Pictures of one object each with its name, novel ones too, in a folder for each class.

    Args:
        draw (dict): `num_images`, `seed` and further arguments of
            `mmovsam.datasets.mini_world.write_pictures`, which draws the pictures into `data_root`
            if they are not there.
        **kwargs: As `ImageLabelDataset`, without folders.
    """

    METAINFO = dict(classes=_NAMES)

    def __init__(self, *args, draw, **kwargs):
        self.draw = draw
        super().__init__(*args, **kwargs)

    def load_data_list(self):
        """Draws the pictures if they are missing, then lists them."""
        self.data_prefix = dict(img=str(write_pictures(self.data_root, **self.draw)))
        return super().load_data_list()


@DATASETS.register_module()
class MiniWorldPictures(BaseDataset):
    """Endless pictures of the small world's objects for contrastive training.

    All names occur, novel ones too, as CLIP has seen all names. Nothing is stored: picture i
    depends on seed and i only.
    """

    METAINFO = dict(classes=_NAMES, novel=tuple(category.novel for category in CATEGORIES))

    def __init__(self, num_images, seed=0, image_size=128, pipeline=()):
        self.num_images = num_images
        self.seed = seed
        self.image_size = image_size
        super().__init__(pipeline=list(pipeline), serialize_data=False)

    def load_data_list(self):
        """Nothing to load."""
        return []

    def __len__(self):
        return self.num_images

    def get_data_info(self, idx):
        """Draws one picture: `inputs` (3, S, S) uint8 RGB, `category`, its label, and `name`."""
        index = range(self.num_images)[idx]
        rng = np.random.default_rng([self.seed, _STREAM, index])
        image, category_id = draw_picture(rng, self.image_size)
        return dict(
            inputs=torch.from_numpy(image.transpose(2, 0, 1).copy()),
            category=category_id - 1,
            name=_NAMES[category_id - 1],
        )
