"""Tells a loss how frequent each class is in training."""

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ...models.losses import VocabularyLoss
from ..unwrap import unwrap


@HOOKS.register_module()
class ClassFrequencyHook(Hook):
    """Tell a `VocabularyLoss` how frequent each class is in the training's data.

    Classes that never occur are not compared with. A `MixedDataset` has `class_frequencies`, other
    data sets have `class_counts`; with a data set that has neither, all classes are compared with.
    """

    def before_train(self, runner) -> None:
        """Count once, before training.

        Args:
            runner (Runner): The runner of the training.
        """
        loss = getattr(getattr(unwrap(runner.model), 'head', None), 'loss_cls', None)
        if not isinstance(loss, VocabularyLoss):
            return
        dataset = runner.train_dataloader.dataset
        frequencies = getattr(dataset, 'class_frequencies', None)
        if frequencies is None:
            frequencies = getattr(dataset, 'class_counts', None)
        loss.set_source_classes(
            {
                name: torch.as_tensor(classes)
                for name, classes in getattr(dataset, 'source_classes', {}).items()
            }
        )
        if frequencies is not None:
            loss.set_frequencies(torch.as_tensor(frequencies, dtype=torch.float64))
