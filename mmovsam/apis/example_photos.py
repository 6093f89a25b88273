"""Photographs to try a model on: those that lie in scikit-image's wheel and that may be shown."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ExamplePhoto:
    """A photograph of scikit-image.

    Attributes:
        name: What `skimage.data` calls it.
        terms: Whose it is, and on what terms, as scikit-image says.
    """

    name: str
    terms: str

    def load(self) -> np.ndarray:
        """Its pixels.

        Returns:
            `(H, W, 3)` uint8 RGB, gray ones too.

        Raises:
            ImportError: Without scikit-image (extra `mini`).
        """
        try:
            from skimage import data
        except ImportError as error:
            raise ImportError(
                'The photographs are those of scikit-image, which is not installed: '
                'pip install scikit-image'
            ) from error
        image = getattr(data, self.name)()
        return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


# Left out: `stereo_motorcycle`, of which scikit-image names the authors but no terms.
EXAMPLE_PHOTOS = {
    photo.name: photo
    for photo in (
        ExamplePhoto('coffee', 'Rachel Michetti, CC0'),
        ExamplePhoto('astronaut', 'NASA, public domain'),
        ExamplePhoto('chelsea', 'Stefan van der Walt, CC0'),
        ExamplePhoto('rocket', 'SpaceX, public domain'),
        ExamplePhoto('camera', 'Lav Varshney, CC0'),
        ExamplePhoto('coins', 'Brooklyn Museum, no known restrictions'),
    )
}
