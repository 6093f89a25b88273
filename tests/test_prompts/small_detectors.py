"""Detectors of MMDetection, as small as they get, and owners of a prompter."""

import numpy as np
import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import nn

from mmovsam.prompts import DetectorPrompter

PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='Pad', size=(96, 96), pad_val=dict(img=(114, 114, 114))),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                                          'scale_factor')),
]  # fmt: skip
ANCHORS = dict(type='AnchorGenerator', octave_base_scale=4, scales_per_octave=1, ratios=[1.0],
               strides=[16, 32])  # fmt: skip
BODY = dict(
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[103.53, 116.28, 123.675],
                           std=[57.375, 57.12, 58.395], pad_size_divisor=32),
    backbone=dict(type='ResNet', depth=18, num_stages=4, base_channels=8, out_indices=(2, 3),
                  norm_cfg=dict(type='BN'), style='pytorch'),
    neck=dict(type='FPN', in_channels=[32, 64], out_channels=8, num_outs=2),
)  # fmt: skip
RETINANET = dict(
    type='RetinaNet',
    **BODY,
    bbox_head=dict(type='RetinaHead', num_classes=3, in_channels=8, stacked_convs=1,
                   feat_channels=8, anchor_generator=ANCHORS,
                   bbox_coder=dict(type='DeltaXYWHBBoxCoder')),
    test_cfg=dict(nms_pre=100, min_bbox_size=0, score_thr=0.01, max_per_img=50,
                  nms=dict(type='nms', iou_threshold=0.6)),
)  # fmt: skip
WHOLE = dict(
    model=RETINANET,
    test_dataloader=dict(dataset=dict(type='CocoDataset', pipeline=PIPELINE)),
    test_cfg=dict(type='TestLoop'),
)
RPN = dict(
    type='RPN',
    **BODY,
    rpn_head=dict(type='RPNHead', in_channels=8, feat_channels=8, anchor_generator=ANCHORS,
                  bbox_coder=dict(type='DeltaXYWHBBoxCoder')),
    train_cfg=None,
    test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=20, min_bbox_size=0,
                           nms=dict(type='nms', iou_threshold=0.7))),
)  # fmt: skip


@MODELS.register_module()
class FixedDetector(BaseModel):
    """Finds what it is told to, in pixels of the original image."""

    def __init__(self, found=(), columns=4, fields=('bboxes', 'scores', 'labels'), **kwargs):
        super().__init__(**kwargs)
        self.found = found
        self.columns = columns
        self.fields = fields
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, inputs, data_samples, mode):
        assert mode == 'predict' and not self.training and not torch.is_grad_enabled()
        rows = torch.tensor(self.found, dtype=torch.float32).reshape(-1, 6)
        found = dict(
            bboxes=rows[:, : self.columns],
            scores=rows[:, 4],
            labels=rows[:, 5].long(),
            masks=torch.ones(len(rows), 2, 2, dtype=torch.bool),
        )
        if self.fields:
            kept = {name: found[name] for name in self.fields}
            for data_sample in data_samples:
                data_sample.pred_instances = InstanceData(**kept)
        return data_samples


def fixed(*found, columns=4, fields=('bboxes', 'scores', 'labels'), **kwargs):
    found = [list(map(float, row)) for row in found]
    detector = dict(type='FixedDetector', found=found, columns=columns, fields=fields)
    return DetectorPrompter(detector, pipeline=PIPELINE, **kwargs)


def of_array(height=40, width=60, **metainfo):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return DetDataSample(metainfo=dict(img_id=1, ori_img=image, **metainfo))


class Owner(nn.Module):
    def __init__(self, prompter):
        super().__init__()
        self.own = nn.Linear(2, 2)
        self.prompter = prompter


class Model(BaseModel):
    """An owner as MMEngine's models are."""

    def __init__(self, prompter):
        super().__init__()
        self.own = nn.Linear(2, 2)
        self.prompter = prompter

    def forward(self, inputs, data_samples, mode):
        return self.prompter(data_samples)
