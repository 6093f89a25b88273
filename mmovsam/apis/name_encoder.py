"""Text classifiers of names, read by the text tower that belongs to a model."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..vocabulary import TextClassifier, Vocabulary, load_text_encoder, split_name

Names = tuple[str, ...]
Rows = tuple[Tensor, Tensor]  # embeddings (P, D) and biases (P,) of a class's names
REMEMBERED = 20_000  # typed names


class NameEncoder:
    """Makes text classifiers of names; the text tower is loaded when it is first needed, and once.

    `encode` is for a vocabulary as a whole, `classifier` for lists that people type, which change
    by a name or two at a time. May be used by several threads.

    Args:
        vocabulary: The model's; None if it has none.
        text_encoder: Arguments of `mmovsam.vocabulary.load_text_encoder`; None for no text tower.
        max_names: How many a typed list may have.
        built: Built vocabularies to choose from, each by what it is called. Where several know a
            name, the model's comes first, then they in their order.
    """

    def __init__(
        self,
        vocabulary: TextClassifier | None = None,
        text_encoder: Mapping | None = None,
        max_names: int = 2000,
        built: Mapping[str, TextClassifier] | None = None,
    ) -> None:
        self.vocabulary = vocabulary
        self.max_names = max_names
        self.built = dict(built or {})
        self._text_encoder_args = text_encoder
        self._text_encoder = None
        self._known: dict[Names, tuple[Rows, bool]] = {}  # of built ones, and if it is novel
        for each in (*reversed(self.built.values()), vocabulary):
            if each is not None and each.names is not None:
                novel = each.novel or [True] * len(each.names)
                # A class that the model would never predict (None) is wanted where it is listed.
                known = zip(_rows(each), (flag is not False for flag in novel))
                self._known.update(zip(map(split_name, each.names), known))
        self._typed: dict[Names, Rows] = {}
        self._lock = threading.Lock()

    def encode(self, names: Sequence[str] | Vocabulary | TextClassifier) -> TextClassifier:
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
            return vocabulary.build_classifier(*self._tower())

    def classifier(self, names: Sequence[str]) -> TextClassifier:
        """A classifier of names that somebody types; those that are read alike are one class.

        A name of a built vocabulary keeps what that has for it: its embeddings, and whether it is
        base or novel. Every other one is novel, and is read by the text tower when it first comes.

        Raises:
            ValueError: There is none, one is empty, there are too many, or the text tower is
                missing.
        """
        for vocabulary in self.built.values():
            if tuple(names) == vocabulary.names:
                return vocabulary
        wanted: dict[Names, str] = {}
        for name in names:
            wanted.setdefault(split_name(name), name)
        if not wanted:
            raise ValueError('There is no name: give at least one.')
        if len(wanted) > self.max_names:
            raise ValueError(
                f'{len(wanted)} names are more than the {self.max_names} that fit: leave some out.'
            )
        typed = [key for key in wanted if key not in self._known]
        with self._lock:
            new = {key: wanted[key] for key in typed if key not in self._typed}
            if new:
                self._typed.update(zip(new, self._read(list(new.values()))))
            of_typed = {key: (self._typed[key], True) for key in typed}
            if len(self._typed) > max(REMEMBERED, self.max_names):
                self._typed = {key: self._typed[key] for key in typed}
        rows, novel = zip(*(of_typed.get(key) or self._known[key] for key in wanted))
        embeddings, biases = zip(*rows)
        bias = torch.cat(biases)
        return TextClassifier(
            torch.cat(embeddings),
            tuple(wanted.values()),
            novel,
            tuple(map(len, embeddings)),
            bias if bias.any() else None,
        )

    def load_tower(self) -> None:
        """Load the text tower now, so that the first typed name does not wait for it."""
        with self._lock:
            self._tower()

    def _tower(self) -> tuple:
        if self._text_encoder is None:
            self._text_encoder = load_text_encoder(**self._text_encoder_args)
        return self._text_encoder

    def _read(self, names: list[str]) -> list[Rows]:
        if self._text_encoder_args is None:
            raise ValueError(
                f'{", ".join(names)}: this model knows its own names only. Give it a text_encoder.'
            )
        # Half-typed names are no use tomorrow: nothing of this goes to the cache on disk.
        vocabulary = Vocabulary(names)
        return _rows(vocabulary.build_classifier(*self._tower(), progress=False, cache=False))


def _rows(classifier: TextClassifier) -> list[Rows]:
    """Those of each class."""
    embeddings, counts = classifier.flat()
    sizes = counts.tolist()
    return list(zip(embeddings.split(sizes), classifier.flat_bias().split(sizes)))
