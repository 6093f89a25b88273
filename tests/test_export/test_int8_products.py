"""Matrix products of eight bits are the same on processors without VNNI instructions.

There onnxruntime multiplies by vpmaddubsw: products of unsigned activations and signed weights are
added in pairs, and a sum that does not fit into 16 bits saturates.
"""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper


@pytest.mark.parametrize('part', ['encoder', 'decoder'])
def test_no_pair_of_products_can_exceed_16_bits_and_nothing_else_computes_with_eight(
    exported, part
):
    graph = onnx.load(exported.folder / f'{part}_int8.onnx').graph
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == 'MatMulInteger']
    assert products
    for node in products:
        weights = numpy_helper.to_array(arrays[node.input[1]])  # (K, N)
        assert weights.dtype == np.int8 and not numpy_helper.to_array(arrays[node.input[3]]).any()
        pairs = np.pad(weights.astype(int), ((0, len(weights) % 2), (0, 0))).reshape(
            -1, 2, weights.shape[1]
        )
        for worst in (pairs.clip(min=0), pairs.clip(max=0)):  # activations of 255, or of 0
            sums = 255 * worst.sum(1)
            assert np.iinfo(np.int16).min <= sums.min() and sums.max() <= np.iinfo(np.int16).max
    kinds = {node.op_type for node in graph.node}
    assert not kinds & {'ConvInteger', 'QLinearConv', 'QLinearMatMul', 'QGemm'}
