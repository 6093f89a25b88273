"""Export of an OVSAM to a folder of ONNX files."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import torch
from torch import nn

from ..fileio import errors_naming
from ..models.detectors import OVSAM
from ..models.heads.clip2sam_head import is_plain
from ..version import __version__
from ..vocabulary import TextClassifier
from ..vocabulary.text_classifier import check_width
from .checking import Comparison, compare
from .graphs import DecoderGraph, EncoderGraph
from .onnx_model import FORMAT, SETTINGS, ONNXModel
from .quantizing import quantize_weights
from .vocabulary import VocabularyArrays

OPSET = 18
VOCABULARY = 'vocabulary.npz'
FILES = dict(encoder='encoder.onnx', decoder='decoder.onnx')
INT8_FILES = dict(encoder='encoder_int8.onnx', decoder='decoder_int8.onnx')


def export_onnx(
    model: OVSAM,
    folder: str | PathLike,
    classifier: TextClassifier | None = None,
    int8: bool = False,
) -> Comparison:
    """Write the ONNX files of a model, its settings and its vocabulary, and check them.

    Args:
        model: In float32; its weights go into the files.
        folder: Created if it does not exist. An earlier export in it is replaced; other files stay.
        classifier: The vocabulary of the export; None for a model without names.
        int8: Whether to write files with int8 weights, too.

    Returns:
        The float32 files in onnxruntime compared with PyTorch.

    Raises:
        ImportError: A required package is not installed.
        ValueError: The model cannot be exported, or the outputs of the files differ from its own;
            then nothing is written.
    """
    _require_packages()
    check_exportable(model, classifier)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    was_training, device = model.training, next(model.parameters()).device
    for leftover in folder.glob('.export.*.tmp'):  # of killed exports
        shutil.rmtree(leftover, ignore_errors=True)
    temporary_folder = tempfile.TemporaryDirectory(
        prefix='.export.', suffix='.tmp', dir=folder, ignore_cleanup_errors=True
    )
    with errors_naming(folder), temporary_folder as temporary:
        temporary = Path(temporary)
        try:
            settings = _write_graphs(model.eval().to('cpu'), temporary)
            if classifier is not None:
                VocabularyArrays.from_classifier(classifier).save(temporary / VOCABULARY)
            _write_settings(temporary, settings)
            comparison = compare(model, ONNXModel(temporary))
        finally:
            model.train(was_training).to(device)
        comparison.require()
        if int8:
            for part, file in FILES.items():
                quantize_weights(temporary / file, temporary / INT8_FILES[part])
            settings['files']['int8'] = INT8_FILES
            _write_settings(temporary, settings)
        _move(temporary, folder)
    return comparison


def _require_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(f"Exporting needs: pip install 'mmovsam[export]' ({error})") from None
    if not hasattr(torch.onnx, 'ops'):
        raise ImportError(f'Exporting needs torch 2.8 or later, and this is {torch.__version__}.')


def check_exportable(model: OVSAM, classifier: TextClassifier | None) -> None:
    """Raise a `ValueError` if a model or its vocabulary cannot be exported."""
    dtypes = {parameter.dtype for parameter in model.parameters()}
    if dtypes != {torch.float32}:
        names = ', '.join(sorted(map(str, dtypes)))
        raise ValueError(f'Weights are exported in float32, these are {names}: model.float().')
    if model.encoder_dtype not in (None, torch.float32):
        raise ValueError(
            f'The model was prepared to encode in {model.encoder_dtype}: export it in float32.'
        )
    preprocessor = model.data_preprocessor
    if not (preprocessor._enable_normalize and getattr(preprocessor, 'swaps_channels', False)):
        raise ValueError(
            'The data preprocessor does not turn BGR to RGB and normalize it, as programs that run '
            'an export do. Use OVSAMDataPreprocessor as it is.'
        )
    if not model.recognizes:
        return
    if classifier is None:
        raise ValueError('The model names what it segments: export it with a vocabulary.')
    check_width(classifier.embeddings.shape[-1], model.head.embed_dim)
    for key in ('head_region', 'clip_region'):
        if model.test_cfg[key] not in ('mask', 'prompt'):
            raise ValueError(
                f'test_cfg.{key} is {model.test_cfg[key]!r}. The exported decoder knows the boxes '
                "of masks and of prompts only: set it to 'mask' or 'prompt'."
            )
    extractor = model.head.roi_extractor
    if not is_plain(extractor):
        raise ValueError(
            f'The RoI extractor is a {type(extractor).__name__} with {extractor.roi_layers[0]}. '
            "ONNX has an operator for that of a SingleRoIExtractor with dict(type='RoIAlign') "
            'alone, averaging and aligned.'
        )


def _write_graphs(model: OVSAM, folder: Path) -> dict:
    """Write encoder and decoder; returns the settings of `model.json`."""
    encoder = EncoderGraph(model).eval()
    image = torch.zeros(1, 3, model.input_size, model.input_size)
    with torch.no_grad():
        features = encoder(image)
    _write(encoder, (image,), None, folder / FILES['encoder'])

    decoder = DecoderGraph(model, encoder.outputs).eval()
    # no dynamic size is 1, which would be exported as a constant
    prompts = torch.zeros(3, 5, 2), torch.zeros(3, 5).long(), torch.tensor([8, 8])
    points = {0: 'num_prompts', 1: 'num_points'}
    shapes = [({},) * len(features), points, points, {}]
    names = ()
    if model.recognizes:
        width = model.head.embed_dim
        names = torch.zeros(7, width), torch.zeros(4, 2).long(), torch.zeros(4).long()
        classes = 'num_classes'
        shapes.append(({0: 'num_names'}, {0: classes, 1: 'names_per_class'}, {0: classes}))
    _write(decoder, (features, *prompts, *names), shapes, folder / FILES['decoder'])
    return _settings(model, encoder, decoder)


def _write(graph: nn.Module, inputs: tuple, dynamic_shapes: Sequence | None, path: Path) -> None:
    with warnings.catch_warnings():
        # of axes with the same name, which is intended, and of PyTorch's own code
        warnings.simplefilter('ignore')
        try:
            program = torch.onnx.export(
                graph,
                inputs,
                input_names=graph.inputs,
                output_names=graph.outputs,
                opset_version=OPSET,
                dynamic_shapes=dynamic_shapes and tuple(dynamic_shapes),
                dynamo=True,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            cause = error.__cause__ or error
            raise ValueError(
                f'PyTorch cannot express the {path.stem} of this model in ONNX (opset {OPSET}): '
                f'{type(cause).__name__}: {cause}'
            ) from error
    program.save(path)  # ONNX files end at 2 GB: larger weights go into a file beside it


def _settings(model: OVSAM, encoder: EncoderGraph, decoder: DecoderGraph) -> dict:
    preprocessor = model.data_preprocessor
    settings = dict(
        format=FORMAT,
        mmovsam=__version__,
        opset=OPSET,
        image_size=model.input_size,
        mean=preprocessor.mean.flatten().tolist(),
        std=preprocessor.std.flatten().tolist(),
        logit_size=model.logit_size,
        files=dict(float32=FILES),
        encoder=dict(inputs=encoder.inputs, outputs=encoder.outputs),
        decoder=dict(inputs=decoder.inputs, outputs=decoder.outputs),
    )
    if model.recognizes:
        settings.update(vocabulary=VOCABULARY, embed_dim=model.head.embed_dim)
        keys = ('logit_scale', 'base_alpha', 'novel_alpha')
        settings.update({key: getattr(model.classifier, key) for key in keys})
    return settings


def _write_settings(folder: Path, settings: dict) -> None:
    text = json.dumps(settings, indent=2) + '\n'
    (folder / SETTINGS).write_text(text, encoding='utf-8')


def _move(source: Path, target: Path) -> None:
    """Replace an export by another, whose settings come last: without them there is no export."""
    new = sorted(source.iterdir(), key=lambda path: path.name == SETTINGS)
    patterns = (SETTINGS, '*coder*.onnx', '*coder*.onnx.data', VOCABULARY)
    old = [path for pattern in patterns for path in target.glob(pattern)]
    backup = source / 'old'
    backup.mkdir()
    moves = [(path, backup / path.name) for path in old]
    moves += [(path, target / path.name) for path in new]
    done = []
    try:
        for move in moves:
            os.replace(*move)
            done.append(move)
    except BaseException:  # restore the earlier export
        for before, after in reversed(done):
            os.replace(after, before)
        raise
