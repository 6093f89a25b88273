"""Refuses a run whose images are not all there, before it begins."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS

from ...datasets.image_paths import image_paths, leaf_datasets, missing_files

_SHOWN = 5


@HOOKS.register_module()
class ImageCheckHook(Hook):
    """Stop when images of the data are missing, in one pass over their folders.

    Otherwise a training would end after hours, when it comes to the first of them. Those of a data
    set with `damaged='skip'` are counted in a warning. Images that MMEngine's file backends fetch
    from elsewhere are not looked for, nor those that a data set without a list found in folders.
    """

    def before_train(self, runner) -> None:
        """Check the data of training and of validation."""
        loops = [runner.train_loop, runner.val_loop]
        self._check([loop.dataloader.dataset for loop in loops if loop is not None])

    def before_test(self, runner) -> None:
        """Check the data of the test."""
        self._check([runner.test_dataloader.dataset])

    @staticmethod
    def _check(datasets) -> None:
        missing, skipped, count = [], [], 0
        for leaf in {id(leaf): leaf for each in datasets for leaf in leaf_datasets(each)}.values():
            paths = image_paths(leaf) if getattr(leaf, 'ann_file', '') else []
            skips = getattr(leaf, 'damaged', 'stop') == 'skip'
            (skipped if skips else missing).extend(missing_files(paths))
            count += len(paths)
        for paths in filter(None, (skipped, missing)):
            names = ', '.join(paths[:_SHOWN]) + ' ...' * (len(paths) > _SHOWN)
            message = f'{len(paths)} of {count} images are missing: {names}'
            if paths is missing:
                raise FileNotFoundError(
                    f'{message}. Check data_root and data_prefix of your config, or get the images '
                    "again; damaged='skip' in the data set trains without them."
                )
            print_log(f'{message}. They are skipped.', logger='current', level=logging.WARNING)
