"""Pictures of single objects with their names, drawn when asked for."""

import numpy as np
import torch
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset

from .mini_world import CATEGORIES, draw_picture

_STREAM = 3  # keeps pictures apart from the scenes of the same seed, whose streams are 0 to 2


@DATASETS.register_module()
class MiniWorldPictures(BaseDataset):
    """Endless pictures of the small world's objects for contrastive training.

    All names occur, novel ones too, as CLIP has seen all names. Nothing is stored: picture i
    depends on seed and i only.

    Args:
        num_images (int): Length of the dataset.
        seed (int): Not negative.
        image_size (int): Side of the pictures in pixels.
        pipeline (Sequence[dict]): Transforms of the item.
    """

    METAINFO = dict(
        classes=tuple(category.name for category in CATEGORIES),
        novel=tuple(category.novel for category in CATEGORIES),
    )

    def __init__(self, num_images, seed=0, image_size=128, pipeline=()):
        if num_images < 1 or seed < 0 or image_size < 1:
            raise ValueError(
                'expected num_images and image_size of at least 1 and a seed of at least 0, got '
                f'{num_images}, {image_size} and {seed}'
            )
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
        """Draws one picture.

        Args:
            idx (int): Index, negative ones count from the end.

        Returns:
            dict: `inputs` (3, image_size, image_size) uint8 RGB tensor, `category`
                the label (index into `metainfo['classes']`), `name` in plain English.
        """
        index = range(self.num_images)[idx]
        rng = np.random.default_rng([self.seed, _STREAM, index])
        image, category_id = draw_picture(rng, self.image_size)
        return dict(
            inputs=torch.from_numpy(image.transpose(2, 0, 1).copy()),
            category=category_id - 1,
            name=CATEGORIES[category_id - 1].name,
        )
