# LVIS, COCO and ImageNet-21K in one training: 22,000 names.
# Its vocabulary: tools/build_vocabulary.py. Test with ovsam_lvis.py or ovsam_coco.py.
_base_ = ['./ovsam_lvis.py', './_base_/datasets/imagenet22k.py']
model = dict(
    classifier=dict(classifier='checkpoints/vocabulary_22k_rn50x16.safetensors'),
    head=dict(loss_cls=dict(type='VocabularyLoss', by_source=True)),
)
coco = dict(
    _base_.train_dataloader.dataset,
    type='CocoJsonDataset',
    data_root='data/coco/',
    ann_file='annotations/instances_train2017.json',
    data_prefix=dict(img='train2017/'),
)
train_dataloader = dict(
    sampler=dict(_delete_=True, type='MixedSampler'),
    dataset=dict(
        _delete_=True,
        type='MixedDataset',
        datasets=[_base_.train_dataloader.dataset, coco, _base_.imagenet],
        names=['lvis', 'coco', 'imagenet'],
        ratios=[1, 1, 2],
        same=dict(coco=_base_.coco_as_lvis, imagenet=_base_.imagenet_as_coco),
    ),
)
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = test_evaluator = test_cfg = None
