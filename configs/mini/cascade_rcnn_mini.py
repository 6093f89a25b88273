# MMDetection's Cascade R-CNN, narrow, taught the names of the base classes.
_base_ = [
    'mmdet::_base_/models/cascade-rcnn_r50_fpn.py',
    '../_base_/mini_two_stage.py',
]
sizes = dict(
    in_channels=24,
    roi_feat_size=5,
    fc_out_channels=48,
    num_classes=640,
    reg_class_agnostic=True,
)
model = dict(
    backbone=dict(
        _base_.small_resnet,
        init_cfg=dict(
            _delete_=True,
            type='Pretrained',
            checkpoint='mmovsam://faster_rcnn_mini.safetensors',
            prefix='backbone',
        ),
    ),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=24),
    rpn_head=dict(in_channels=24, feat_channels=24),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=24, roi_layer=dict(output_size=5)),
        bbox_head=[dict(head, **sizes) for head in _base_.model.roi_head.bbox_head],
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=_base_.few_proposals,
        rcnn=[
            dict(stage, sampler=dict(stage['sampler'], num=96))
            for stage in _base_.model.train_cfg.rcnn
        ],
    ),
    test_cfg=dict(rpn=_base_.few_proposals),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_epochs=3, val_interval=3)
