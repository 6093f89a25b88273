# Stage one from stored embeddings of SAM ViT-H:
# python tools/dump_teacher_features.py configs/sam2clip_rn50x16_store.py --out data/sa1b_features
_base_ = ['./sam2clip_rn50x16.py']
features = 'data/sa1b_features/'
model = dict(features=features)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='TeacherFeatureDataset',
        features=features,
        dataset=_base_.train_dataloader.dataset,
    )
)
