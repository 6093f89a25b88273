# COCO 2017 with 48 base and 17 novel classes: data/coco/annotations, data/coco/{train,val}2017.
_base_ = ['./open_vocab.py']
data_root = 'data/coco/'
val_ann_file = 'annotations/instances_val2017.json'
train_dataloader = dict(
    dataset=dict(
        type='OVCocoDataset',
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
    )
)
val_dataloader = dict(
    dataset=dict(
        type='OVCocoDataset',
        data_root=data_root,
        ann_file=val_ann_file,
        data_prefix=dict(img='val2017/'),
    )
)
test_dataloader = val_dataloader
# for tests with a detector's boxes as prompts
average_precision = dict(type='OpenVocabCocoMetric', ann_file=data_root + val_ann_file)
