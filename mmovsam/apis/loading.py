"""The model of a config with what reads typed names for it, and photographs to try it on."""

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
    """A photograph in scikit-image's wheel: `skimage.data`'s name of it, its author and terms."""

    name: str
    terms: str

    def load(self) -> np.ndarray:
        """Its pixels `(H, W, 3)` uint8 RGB; it needs scikit-image (extra `mini`)."""
        try:
            from skimage import data
        except ImportError as error:
            raise ImportError(
                'The photographs are those of scikit-image: pip install scikit-image'
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


def load_examples() -> dict[str, np.ndarray]:
    """`EXAMPLE_PHOTOS` by their names and terms; none without scikit-image."""
    try:
        return {f'{p.name}: {p.terms}': p.load() for p in EXAMPLE_PHOTOS.values()}
    except ImportError:
        return {}


def load(
    config: str | Path,
    checkpoint: str | Path | None = None,
    device: str | None = None,
    cache_size: int = 8,
) -> tuple[OVSAMPredictor, NameEncoder]:
    """Load a model, as `OVSAMPredictor.from_config`, and what reads the names typed for it."""
    predictor = OVSAMPredictor.from_config(config, checkpoint, device, cache_size)
    classifier = predictor.model.classifier
    has_file = classifier is not None and classifier.file is not None
    vocabulary = classifier.read() if has_file else None
    cfg = read_config(config, weights=False)
    vocabularies = cfg.get('vocabularies') or []
    built = {each.title: load_classifier(each.file) for each in vocabularies}
    text_encoder = cfg.get('text_encoder')
    name_encoder = NameEncoder(vocabulary, text_encoder, built=built)
    if text_encoder and str(text_encoder.get('checkpoint')).startswith('mmovsam://'):
        name_encoder.load_tower()  # it is here; others may be large, or have to be downloaded
    return predictor, name_encoder
