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
        """Its pixels `(H, W, 3)` uint8 RGB, gray ones too.

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
_TERMS = {
    'coffee': 'Rachel Michetti, CC0',
    'astronaut': 'NASA, public domain',
    'chelsea': 'Stefan van der Walt, CC0',
    'rocket': 'SpaceX, public domain',
    'camera': 'Lav Varshney, CC0',
    'coins': 'Brooklyn Museum, no known restrictions',
}
EXAMPLE_PHOTOS = {name: ExamplePhoto(name, terms) for name, terms in _TERMS.items()}
