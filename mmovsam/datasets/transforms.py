"""Resizing of images to the network's input."""

from mmdet.datasets.transforms import Resize
from mmdet.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ResizeLongestSide(Resize):
    """Resize an image so that its longest side has `size` pixels, as SAM does.

    The same as `Resize(scale=(size, size), keep_ratio=True)`, but the shorter side keeps at least
    one pixel, as for an image of 1x8000 pixels.

    Args:
        size (int): Longest side of the result in pixels.
        **kwargs: As `Resize`, but for `scale` and `keep_ratio`.

    Raises:
        ValueError: If the size is not positive.
    """

    def __init__(self, size, **kwargs):
        if size < 1:
            raise ValueError(f'ResizeLongestSide needs a size of at least 1 pixel, got {size}')
        super().__init__(scale=(size, size), keep_ratio=False, **kwargs)
        self.size = size

    def transform(self, results):
        """Resize `results['img']` (H, W, 3) and its annotations.

        Adds `img_shape` (H, W) and `scale_factor` (w, h), and the original image as `ori_img` if it
        has no `img_path`.
        """
        if results.get('img_path') is None:  # an image from memory, as inferencers take them
            results['ori_img'] = results['img']
        height, width = results['img'].shape[:2]
        factor = self.size / max(height, width)
        self.scale = tuple(max(1, int(side * factor + 0.5)) for side in (width, height))
        return super().transform(results)
