"""Loads a model for interactive use, and example photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..pretrained import read_config
from ..vocabulary import load_classifier
from .name_encoder import NameEncoder
from .predictor import OVSAMPredictor


@dataclass(frozen=True)
class ExamplePhoto:
    """A photograph of `skimage.data`: its name there, its author and license."""

    name: str
    terms: str

    def load(self) -> np.ndarray:
        """The image `(H, W, 3)` uint8 RGB; requires scikit-image (extra `mini`)."""
        try:
            from skimage import data
        except ImportError as error:
            raise ImportError(
                'The photographs are those of scikit-image: pip install scikit-image'
            ) from error
        image = getattr(data, self.name)()
        return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


# without `stereo_motorcycle`, for which scikit-image states no license
_TERMS = {
    'coffee': 'Rachel Michetti, CC0',
    'astronaut': 'NASA, public domain',
    'chelsea': 'Stefan van der Walt, CC0',
    'rocket': 'SpaceX, public domain',
    'camera': 'Lav Varshney, CC0',
    'coins': 'Brooklyn Museum, no known restrictions',
}
EXAMPLE_PHOTOS = {name: ExamplePhoto(name, terms) for name, terms in _TERMS.items()}


def load_examples() -> dict[str, np.ndarray]:
    """Images of `EXAMPLE_PHOTOS` by name and license; empty without scikit-image."""
    try:
        return {f'{photo.name}: {photo.terms}': photo.load() for photo in EXAMPLE_PHOTOS.values()}
    except ImportError:
        return {}


def load(
    config: str | Path,
    checkpoint: str | Path | None = None,
    device: str | None = None,
    cache_size: int = 8,
) -> tuple[OVSAMPredictor, NameEncoder]:
    """Load a predictor, see `OVSAMPredictor.from_config`, and the encoder of typed names."""
    predictor = OVSAMPredictor.from_config(config, checkpoint, device, cache_size)
    classifier = predictor.model.classifier
    has_file = classifier is not None and classifier.file is not None
    cfg = read_config(config, weights=False)
    vocabularies = cfg.get('vocabularies') or []
    built = {vocabulary.title: load_classifier(vocabulary.file) for vocabulary in vocabularies}
    text_encoder = cfg.get('text_encoder')
    name_encoder = NameEncoder(classifier.read() if has_file else None, text_encoder, built=built)
    if text_encoder and str(text_encoder.get('checkpoint')).startswith('mmovsam://'):
        name_encoder.load_text_encoder()  # shipped; others may be large, or have to be downloaded
    return predictor, name_encoder
