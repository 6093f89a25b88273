"""Refuses data whose classes are not those of the model's vocabulary."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from ...models.heads import OpenVocabClassifier
from ..unwrap import unwrap


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Stop when label i means one class in the data and another in the text classifier.

    Nothing else would tell: training would learn wrong names, and accuracy would be that of
    comparing numbers of different lists. Models without a text classifier, and data without
    classes, are left alone. Where the data tells base from novel classes and the vocabulary does
    not, a warning says that names will be fused in another way.
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
        metainfo = getattr(dataloader.dataset, 'metainfo', None) or {}
        classes = metainfo.get('classes')
        if not isinstance(classifier, OpenVocabClassifier) or not classes:
            return
        classifier.check_classes(classes)
        if True in (metainfo.get('novel') or ()) and not classifier.has_split:
            print_log(
                f'The data has {sum(flag is True for flag in metainfo["novel"])} novel classes, '
                'and the vocabulary does not tell base from novel: all names are fused as novel '
                "ones, and accuracies are not those of the paper's setting. Build the vocabulary "
                'with a split: from the word lvis or coco, or from the config of the data '
                '(tools/build_vocabulary.py); or name the classes in model.classifier.novel.',
                logger='current',
                level=logging.WARNING,
            )
