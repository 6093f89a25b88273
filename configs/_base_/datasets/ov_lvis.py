# LVIS v1: data/lvis/annotations/*.json, images in data/coco/{train,val}2017.
_base_ = ['./open_vocab.py']
data_root = 'data/lvis/'
image_root = '../coco/'
val_ann_file = 'annotations/lvis_v1_val.json'
train_dataloader = dict(
    dataset=dict(
        type='OVLVISDataset',
        data_root=data_root,
        ann_file='annotations/lvis_v1_train.json',
        data_prefix=dict(img=image_root),
    )
)
val_dataloader = dict(
    dataset=dict(
        type='OVLVISDataset',
        data_root=data_root,
        ann_file=val_ann_file,
        data_prefix=dict(img=image_root),
    )
)
test_dataloader = val_dataloader
# for tests with a detector's boxes as prompts
average_precision = dict(type='OpenVocabLVISMetric', ann_file=data_root + val_ann_file)
