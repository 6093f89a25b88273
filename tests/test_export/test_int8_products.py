"""Matrix products of eight bits on processors without VNNI instructions, simulated.

There onnxruntime multiplies by vpmaddubsw: products of unsigned activations and signed weights are
added in pairs, and a sum that does not fit into 16 bits becomes the nearest that does. Processors
with VNNI add in 32 bits.
"""

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny
import torch
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from mmovsam.export import ONNXModel
from mmovsam.export.onnx_model import point_groups
from mmovsam.prompts import Prompts

PARTS = ('encoder', 'decoder')
INT16 = np.iinfo(np.int16)


def saturating_product(activations, weights):
    """The product of `(M, K)` uint8 and `(K, N)` int8 as vpmaddubsw gives it, `(M, N)` int64."""
    odd = len(weights) % 2
    activations = np.pad(activations, ((0, 0), (0, odd))).astype(np.int64)
    weights = np.pad(weights, ((0, odd), (0, 0))).astype(np.int64)
    total = 0
    for first in range(0, len(weights), 2):
        pair = activations[:, first : first + 2] @ weights[first : first + 2]
        total = total + pair.clip(INT16.min, INT16.max)
    return total


def exact_product(activations, weights):
    return activations.astype(np.int64) @ weights.astype(np.int64)


def integer_products(path):
    """Of each MatMulInteger of a file: the name of its activations, and its weights `(K, N)`."""
    graph = onnx.load(path).graph
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == 'MatMulInteger':
            weights = numpy_helper.to_array(arrays[node.input[1]])
            assert weights.dtype == np.int8 and weights.ndim == 2
            assert not numpy_helper.to_array(arrays[node.input[3]]).any()
            yield node.input[0], weights


def activations(path, names, inputs):
    """What values inside of a file are for its inputs: arrays `(M, K)` uint8."""
    model = onnx.load(path)
    for name in names:
        info = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, None)
        model.graph.output.append(info)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    found = session.run(list(names), inputs)
    return {name: array.reshape(-1, array.shape[-1]) for name, array in zip(names, found)}


@pytest.fixture(scope='module')
def inputs(exported):
    """Of both parts, for a random image and three prompts."""
    model = ONNXModel(exported.folder, 'int8', num_threads=1)
    image = torch.randn(1, 3, tiny.SIZE, tiny.SIZE, generator=torch.Generator().manual_seed(0))
    image = image.numpy()
    prompts = Prompts(bboxes=[[5, 6, 50, 40], [0, 0, 90, 90], [20, 30, 60, 80]])
    ((_, points),) = point_groups(prompts)
    img_shape = np.array([tiny.SIZE, tiny.SIZE], np.int64)
    shared = dict(model.encode(image), img_shape=img_shape, **model.vocabulary.inputs)
    return dict(encoder=dict(image=image), decoder=dict(shared, **points))


def saturated(path, inputs):
    """How many of the products in a file are other numbers where sums saturate."""
    products = list(integer_products(path))
    found = activations(path, sorted({name for name, _ in products}), inputs)
    assert products
    return sum(
        int((saturating_product(found[name], weights) != exact_product(found[name], weights)).sum())
        for name, weights in products
    )


@pytest.mark.parametrize('part', PARTS)
def test_exported_products_are_the_same_where_sums_saturate(exported, inputs, part):
    assert saturated(exported.folder / f'{part}_int8.onnx', inputs[part]) == 0


@pytest.mark.parametrize('part', PARTS)
def test_no_activations_can_saturate_the_exported_weights(exported, part):
    for _, weights in integer_products(exported.folder / f'{part}_int8.onnx'):
        for worst in (weights > 0, weights < 0):
            for column in range(weights.shape[1]):
                rows = np.where(worst[None, :, column], 255, 0).astype(np.uint8)
                column = weights[:, column : column + 1]
                assert saturating_product(rows, column) == exact_product(rows, column)


def test_nothing_but_these_products_computes_with_eight_bits(exported):
    for part in PARTS:
        nodes = onnx.load(exported.folder / f'{part}_int8.onnx').graph.node
        kinds = {node.op_type for node in nodes}
        assert 'MatMulInteger' in kinds
        assert not kinds & {'ConvInteger', 'QLinearConv', 'QLinearMatMul', 'QGemm'}


def test_weights_of_full_range_would_saturate(exported, inputs, tmp_path):
    """So the simulation sees what it is for."""
    quantize_dynamic(
        exported.folder / 'encoder.onnx',
        tmp_path / 'full.onnx',
        op_types_to_quantize=['MatMul', 'Gemm'],
        per_channel=True,
        weight_type=QuantType.QInt8,
    )
    assert saturated(tmp_path / 'full.onnx', inputs['encoder']) > 0


def test_simulation_saturates_pairs_as_the_instruction_does():
    pair = np.array([[255, 255]], np.uint8)
    for weights, expected in [
        ((64, 64), 32640), ((64, 65), 32767), ((-64, -64), -32640), ((-65, -64), -32768),
        ((127, -127), 0),
    ]:  # fmt: skip
        weights = np.array(weights, np.int8)[:, None]
        assert saturating_product(pair, weights).item() == expected
    three = np.full((1, 3), 255, np.uint8)
    assert saturating_product(three, np.full((3, 1), 127, np.int8)).item() == 32767 + 255 * 127
