"""What all users of a server share: the model of a config, and examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..pretrained import read_config
from ..vocabulary import load_classifier
from .example_photos import EXAMPLE_PHOTOS
from .name_encoder import NameEncoder
from .predictor import OVSAMPredictor


def load(
    config: str | Path,
    checkpoint: str | Path | None = None,
    device: str | None = None,
    cache_size: int = 8,
) -> tuple[OVSAMPredictor, NameEncoder]:
    """Load a model, as `OVSAMPredictor.from_config`, and what reads the names typed for it."""
    predictor = OVSAMPredictor.from_config(config, checkpoint, device, cache_size)
    classifier = predictor.model.classifier
    own = classifier.read() if classifier is not None and classifier.file is not None else None
    cfg = read_config(config, weights=False)
    vocabularies = cfg.get('vocabularies') or {}
    built = {title: load_classifier(file) for title, file in vocabularies.items()}
    text_encoder = cfg.get('text_encoder')
    name_encoder = NameEncoder(own, text_encoder, built=built)
    if text_encoder and str(text_encoder.get('checkpoint')).startswith('mmovsam://'):
        name_encoder.load_tower()  # it is here; others may be large, or have to be downloaded
    return predictor, name_encoder


def load_examples() -> dict[str, np.ndarray]:
    """`EXAMPLE_PHOTOS` by their names and terms; none without scikit-image."""
    try:
        return {f'{p.name}: {p.terms}': p.load() for p in EXAMPLE_PHOTOS.values()}
    except ImportError:
        return {}
