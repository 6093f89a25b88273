# MMDetection's Faster R-CNN, narrow and from random weights, taught the names of the base classes.
_base_ = [
    'mmdet::_base_/models/faster-rcnn_r50_fpn.py',
    '../_base_/mini_two_stage.py',
]
model = dict(
    backbone=dict(
        _base_.small_resnet,
        init_cfg=None,
    ),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=32),
    rpn_head=dict(in_channels=32, feat_channels=32),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=32, roi_layer=dict(output_size=5)),
        bbox_head=dict(
            in_channels=32,
            roi_feat_size=5,
            fc_out_channels=96,
            num_classes=640,
            reg_class_agnostic=True,
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=_base_.few_proposals,
        rcnn=dict(sampler=dict(num=96)),
    ),
    test_cfg=dict(rpn=_base_.few_proposals),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_epochs=4, val_interval=4)
