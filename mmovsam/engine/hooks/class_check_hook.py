"""Refuses data whose classes are not those of the model's vocabulary."""

from mmengine.hooks import Hook
from mmengine.registry import HOOKS

from ...models.heads import OpenVocabClassifier
from .unwrap import unwrap


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Stop when label i means one class in the data and another in the text classifier.

    Nothing else would tell: training would learn wrong names, and accuracy would be that of
    comparing numbers of different lists. Models without a text classifier, and data without
    classes, are left alone.
    """

    def before_train(self, runner) -> None:
        """Check the data of training, and of validation now rather than after an epoch."""
        self._check(runner.model, runner.train_dataloader)
        if runner.val_loop is not None:
            self._check(runner.model, runner.val_dataloader)

    def before_val(self, runner) -> None:
        """Check the data of validation."""
        self._check(runner.model, runner.val_dataloader)

    def before_test(self, runner) -> None:
        """Check the data of the test."""
        self._check(runner.model, runner.test_dataloader)

    @staticmethod
    def _check(model, dataloader) -> None:
        classifier = getattr(unwrap(model), 'classifier', None)
        classes = (getattr(dataloader.dataset, 'metainfo', None) or {}).get('classes')
        if isinstance(classifier, OpenVocabClassifier) and classes:
            classifier.check_classes(classes)
