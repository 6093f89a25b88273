"""ONNX's RoIAlign stands in for mmcv's."""

import numpy as np
import onnxruntime
import torch
from mmcv.ops import roi_align
from onnx import TensorProto, helper


def in_onnx(features, bboxes, size, scale):
    node = helper.make_node(
        'RoiAlign',
        ['features', 'bboxes', 'images'],
        ['regions'],
        coordinate_transformation_mode='half_pixel',
        mode='avg',
        output_height=size,
        output_width=size,
        sampling_ratio=0,
        spatial_scale=scale,
    )
    kinds = dict(features=TensorProto.FLOAT, bboxes=TensorProto.FLOAT, images=TensorProto.INT64)
    shapes = dict(features=features.shape, bboxes=bboxes.shape, images=bboxes.shape[:1])
    inputs = [helper.make_tensor_value_info(name, kinds[name], shapes[name]) for name in kinds]
    outputs = [helper.make_tensor_value_info('regions', TensorProto.FLOAT, None)]
    graph = helper.make_graph([node], 'graph', inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    images = np.zeros(len(bboxes), np.int64)
    return session.run(None, dict(features=features, bboxes=bboxes, images=images))[0]


def test_onnx_pools_as_mmcv_does_and_gives_zeros_for_empty_boxes():
    random = np.random.default_rng(0)
    features = random.standard_normal((1, 3, 20, 20), dtype=np.float32)
    corners = np.sort(random.uniform(-10, 330, (40, 2, 2)).astype(np.float32), axis=1)
    bboxes = corners.reshape(40, 4)
    bboxes[:4] = [0] * 4, [5] * 4, [320] * 4, [0, 0, 320, 320]
    for size, scale in ((7, 1 / 16), (12, 1 / 32), (7, 1 / 8)):
        got = in_onnx(features, bboxes, size, scale)
        rois = torch.from_numpy(np.concatenate((np.zeros((40, 1), np.float32), bboxes), 1))
        expected = roi_align(torch.from_numpy(features), rois, (size, size), scale, 0, 'avg', True)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
        assert not got[:3].any()
