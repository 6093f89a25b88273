"""From a config to what all sessions share."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from ..apis import OVSAMPredictor
from ..fileio import find_config
from ..vocabulary import load_classifier
from .name_encoder import NameEncoder


def load(
    config: str | Path, checkpoint: str | Path | None = None, device: str = 'cpu'
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
    file = classifier.file if classifier is not None else None
    own = load_classifier(file) if file is not None else None
    text_encoder = Config.fromfile(find_config(config)).get('text_encoder')
    return predictor, NameEncoder(own, text_encoder)
