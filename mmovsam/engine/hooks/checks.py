"""Hooks that check and prepare a run before it begins."""

from contextlib import ExitStack

import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop

from ...checkpoints import check_fit, load_initial_weights, names_all_weights, safe_loading
from ...datasets.files import image_paths, leaf_datasets, missing_files
from ...devices import allow_tf32, precision
from ...logs import warn
from ...models.heads import OpenVocabClassifier
from ...models.losses import VocabularyLoss
from ...models.prepare import prepare_for_inference
from ..processes import unwrap


@HOOKS.register_module()
class CheckpointCheckHook(Hook):
    """Stop when a checkpoint does not fit the model, which MMEngine would only log.

    See `check_fit`; a test needs all weights of the model. A test without a checkpoint loads the
    files of `init_cfg`, if each part of the model has one; MMEngine would do so in training only.

    The runner loads checkpoints as data, see `safe_loading`, also in MMDetection's own tools.
    """

    def __init__(self) -> None:
        self._loading = ExitStack()

    def before_run(self, runner) -> None:
        # MMEngine loads checkpoints between this and the first iteration
        self._loading.enter_context(safe_loading())

    def after_load_checkpoint(self, runner, checkpoint) -> None:
        check_fit(unwrap(runner.model), checkpoint, strict=not _trains(runner))

    def before_train(self, runner) -> None:
        self._loading.close()

    def before_val(self, runner) -> None:
        self._loading.close()

    def before_test(self, runner) -> None:
        self._loading.close()
        untouched = not (runner._has_loaded or _trains(runner))
        if untouched and names_all_weights(runner.cfg.get('model') or {}):
            load_initial_weights(unwrap(runner.model))


def _trains(runner) -> bool:
    # built before a checkpoint is loaded; in a test it stays a config
    return isinstance(runner._train_loop, BaseLoop)


@HOOKS.register_module()
class ClassCheckHook(Hook):
    """Stop when the classes of the data and of the text classifier differ.

    Models without a text classifier and data without classes are not checked. Warns where the data
    has a split of base and novel classes and the vocabulary has none, as it changes the fusion.
    """

    def before_train(self, runner) -> None:
        self._check(runner.model, runner.train_dataloader)
        if runner.val_loop is not None:  # now, not after an epoch
            self._check(runner.model, runner.val_dataloader)

    def before_val(self, runner) -> None:
        self._check(runner.model, runner.val_dataloader)

    def before_test(self, runner) -> None:
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
            warn(
                f'The data has {sum(flag is True for flag in metainfo["novel"])} novel classes, '
                'and the vocabulary does not tell base from novel: all names are fused as novel '
                "ones, and accuracies are not those of the paper's setting. Build the vocabulary "
                'with a split: from the word lvis or coco, or from the config of the data '
                '(tools/build_vocabulary.py); or name the classes in model.classifier.novel.'
            )


@HOOKS.register_module()
class ClassFrequencyHook(Hook):
    """Set the class frequencies of a `VocabularyLoss` from the training data.

    Classes that never occur are left out of the loss. A `MixedDataset` has `class_frequencies`,
    other data sets have `class_counts`; with neither, the loss is over all classes.
    """

    def before_train(self, runner) -> None:
        loss = getattr(getattr(unwrap(runner.model), 'head', None), 'loss_cls', None)
        if not isinstance(loss, VocabularyLoss):
            return
        dataset = runner.train_dataloader.dataset
        source_classes = getattr(dataset, 'source_classes', {})
        loss.source_classes = {
            name: torch.as_tensor(classes) for name, classes in source_classes.items()
        }
        for key in ('class_counts', 'class_frequencies'):
            if hasattr(dataset, key):
                loss.frequencies = torch.as_tensor(getattr(dataset, key), dtype=torch.float64)


@HOOKS.register_module()
class ImageCheckHook(Hook):
    """Stop when images are missing, in one pass over their folders.

    With `damaged='skip'` in the data set, a warning counts them. Images of remote file backends are
    not checked, nor those of data sets that list folders.
    """

    def before_train(self, runner) -> None:
        loops = [runner.train_loop, runner.val_loop]
        self._check([loop.dataloader.dataset for loop in loops if loop is not None])

    def before_test(self, runner) -> None:
        self._check([runner.test_dataloader.dataset])

    @staticmethod
    def _check(datasets) -> None:
        missing, skipped, count = [], [], 0
        leaves = [leaf for dataset in datasets for leaf in leaf_datasets(dataset)]
        for leaf in {id(leaf): leaf for leaf in leaves}.values():
            paths = image_paths(leaf) if getattr(leaf, 'ann_file', '') else []
            skips = getattr(leaf, 'damaged', 'stop') == 'skip'
            (skipped if skips else missing).extend(missing_files(paths))
            count += len(paths)
        for paths in filter(None, (skipped, missing)):
            names = ', '.join(paths[:5]) + ' ...' * (len(paths) > 5)
            message = f'{len(paths)} of {count} images are missing: {names}'
            if paths is missing:
                raise FileNotFoundError(
                    f'{message}. Check data_root and data_prefix of your config, or get the images '
                    "again; damaged='skip' in the data set trains without them."
                )
            warn(f'{message}. They are skipped.')


@HOOKS.register_module()
class PrepareForInferenceHook(Hook):
    """Prepare an OVSAM for a test, see `mmovsam.apis.prepare_for_inference`.

    Training and its validation are not changed. In half precision a GPU also uses TF32, see
    `allow_tf32`.

    Args:
        dtype: Precision of the encoder: `'float32'`, `'bfloat16'`, `'float16'`, or `'auto'`: half
            precision on a GPU, an unchanged model on a CPU.
        compile: Whether to compile the model.

    Raises:
        ValueError: The precision is none of these.
    """

    def __init__(self, dtype: str = 'float32', compile: bool = False) -> None:
        precision(dtype, torch.device('cpu'))  # reject unknown ones early
        self.dtype = dtype
        self.compile = compile

    def before_test(self, runner) -> None:
        model = unwrap(runner.model).eval()
        dtype = precision(self.dtype, next(model.parameters()).device)
        if dtype != torch.float32:
            allow_tf32()
        elif self.dtype == 'auto' and not self.compile:
            return
        prepare_for_inference(model, dtype, self.compile)
