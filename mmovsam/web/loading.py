"""What all sessions share: the model of a config, and examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..apis import EXAMPLE_PHOTOS, OVSAMPredictor
from ..apis.name_encoder import NameEncoder
from ..pretrained import read_config
from ..vocabulary import load_classifier


def load(
    config: str | Path, checkpoint: str | Path | None = None, device: str | None = None
) -> tuple[OVSAMPredictor, NameEncoder]:
    """Load a model, and what reads the names that people type for it.

    Args:
        config: As for `OVSAMPredictor.from_config`.
        checkpoint: Likewise.
        device: Likewise.

    Raises:
        ValueError: As for `OVSAMPredictor.from_config`.
        FileNotFoundError: Likewise.
    """
    predictor = OVSAMPredictor.from_config(config, checkpoint, device)
    classifier = predictor.model.classifier
    own = classifier.read() if classifier is not None and classifier.file is not None else None
    cfg = read_config(config, weights=False)
    built = {
        title: load_classifier(file) for title, file in (cfg.get('vocabularies') or {}).items()
    }
    text_encoder = cfg.get('text_encoder')
    name_encoder = NameEncoder(own, text_encoder, built=built)
    if text_encoder and str(text_encoder.get('checkpoint')).startswith('mmovsam://'):
        name_encoder.load_tower()  # it is here; others may be large, or have to be downloaded
    return predictor, name_encoder


def load_examples() -> dict[str, np.ndarray]:
    """The photographs of `EXAMPLE_PHOTOS`, `(H, W, 3)` uint8 RGB, by their names and terms.

    None without scikit-image.
    """
    try:
        return {f'{p.name}: {p.terms}': p.load() for p in EXAMPLE_PHOTOS.values()}
    except ImportError:
        return {}
