"""Quantization of ONNX files to int8 weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np


def quantize_weights(source: Path, target: Path) -> None:
    """Write an ONNX file with int8 weights, and the same inputs and outputs.

    Matrix products compute in integers, with activations quantized dynamically and weights from -64
    to 64: on processors without VNNI, onnxruntime adds pairs of products of uint8 and int8 with
    saturation in 16 bits (vpmaddubsw), which hold 2 * 255 * 64. Convolutions only store their
    weights in int8. docs/export.md has the figures.
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
    """Silence onnxruntime's advice to preprocess, which makes these files larger and no better."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def _store_convolutions_in_int8(graph) -> None:
    """Store the weights of convolutions in int8, followed by a DequantizeLinear per channel."""
    from onnx import helper, numpy_helper

    names = {node.input[1] for node in graph.node if node.op_type == 'Conv'}
    for tensor in [tensor for tensor in graph.initializer if tensor.name in names]:
        weights = numpy_helper.to_array(tensor)  # (channels, ...)
        # symmetric, from -127 to 127
        scales = np.abs(weights).reshape(len(weights), -1).max(1) / 127
        scales[scales == 0] = 1
        quantized = np.rint(weights / scales.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.int8)
        stored = [f'{tensor.name}_int8', f'{tensor.name}_scale']
        graph.initializer.extend(map(numpy_helper.from_array, (quantized, scales), stored))
        graph.initializer.remove(tensor)
        graph.node.insert(0, helper.make_node('DequantizeLinear', stored, [tensor.name], axis=0))
