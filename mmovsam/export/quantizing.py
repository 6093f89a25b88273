"""Weights of eight bits for onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


def quantize_weights(source: Path, target: Path) -> None:
    """Write an ONNX file with weights of eight bits, and the same inputs and outputs.

    Matrix products compute with whole numbers: what they multiply the weights with is rounded as
    well, by its own range each time. Their weights go from -64 to 64 only. On processors without
    VNNI instructions onnxruntime adds pairs of products of an unsigned and a signed number with
    saturation in 16 bits (vpmaddubsw), and 2 * 255 * 64 is the most that fits. Convolutions keep
    their arithmetic and only store their weights as eight bits. docs/export.md has the figures.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    large = source.with_name(f'{source.name}.data').exists()
    with _quiet():
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=['MatMul', 'Gemm'],
            per_channel=True,
            weight_type=QuantType.QInt8,
            reduce_range=True,  # seven bits: see above
            use_external_data_format=large,
        )
    model = onnx.load(target)
    _store_convolutions_in_int8(model.graph)
    data = target.with_name(f'{target.name}.data')
    data.unlink(missing_ok=True)  # onnx would append to it
    onnx.save(model, target, save_as_external_data=large, location=data.name)


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime advises a pre-processing, which made these files larger and no better."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _store_convolutions_in_int8(graph) -> None:
    """Let each convolution read its weights from a DequantizeLinear, with a scale a channel."""
    from onnx import helper, numpy_helper

    names = {node.input[1] for node in graph.node if node.op_type == 'Conv'}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in names]:
        weights = numpy_helper.to_array(tensor)  # (channels, ...)
        # symmetric, from -127 to 127
        scales = np.abs(weights).reshape(len(weights), -1).max(1) / 127
        scales[scales == 0] = 1
        whole = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.int8)
        stored = [f'{tensor.name}_int8', f'{tensor.name}_scale']
        graph.initializer.extend(map(numpy_helper.from_array, (whole, scales), stored))
        graph.initializer.remove(tensor)
        graph.node.insert(0, helper.make_node('DequantizeLinear', stored, [tensor.name], axis=0))
