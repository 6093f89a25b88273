"""Names given as text, read by the text tower that belongs to a model."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

from ..vocabulary import TextClassifier, Vocabulary, load_text_encoder


class TextTower:
    """Makes classifiers of names; the tower is loaded when it is first needed, and once.

    May be used by several threads.

    Args:
        text_encoder: Arguments of `mmovsam.vocabulary.load_text_encoder`; None if there is no
            tower, so that only built classifiers can be had.
    """

    def __init__(self, text_encoder: Mapping | None) -> None:
        self._text_encoder_args = text_encoder
        self._text_encoder = None
        self._lock = threading.Lock()

    def classifier(self, names: Sequence[str] | Vocabulary | TextClassifier) -> TextClassifier:
        """The classifier of class names or of a vocabulary; a classifier is returned as it is.

        Raises:
            TypeError: The names are a single string, or are no strings.
            ValueError: No names, a name twice, or no tower to read them with.
        """
        if isinstance(names, TextClassifier):
            return names
        vocabulary = names if isinstance(names, Vocabulary) else Vocabulary(names)
        if self._text_encoder_args is None:
            raise ValueError(
                'Names need the text tower of the model: put text_encoder=dict(...) into its '
                'config (or give it to OVSAMPredictor), or set a built TextClassifier.'
            )
        with self._lock:
            if self._text_encoder is None:
                self._text_encoder = load_text_encoder(**self._text_encoder_args)
            return vocabulary.build_classifier(*self._text_encoder)
