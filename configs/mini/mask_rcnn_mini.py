# MMDetection's Mask R-CNN, narrow, taught the names and the masks of the base classes.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/mini_two_stage.py',
]
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
        bbox_head=dict(
            in_channels=24,
            roi_feat_size=5,
            fc_out_channels=48,
            num_classes=640,
            reg_class_agnostic=True,
        ),
        mask_roi_extractor=dict(out_channels=24),
        mask_head=dict(
            num_convs=2,
            in_channels=24,
            conv_out_channels=24,
            num_classes=640,
            class_agnostic=True,
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=_base_.few_proposals,
        rcnn=dict(sampler=dict(num=96)),
    ),
    test_cfg=dict(rpn=_base_.few_proposals),
)
train_pipeline = [
    dict(step, with_mask=True) if step['type'] == 'LoadAnnotations' else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_epochs=3, val_interval=3)
