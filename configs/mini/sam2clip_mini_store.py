# Stage 1 from stored embeddings of the small SAM, of whole scenes: they cannot follow a crop.
# python tools/dump_teacher_features.py configs/mini/sam2clip_mini_store.py --dtype int8 \
#     --out data/mini_world_features
_base_ = ['./sam2clip_mini.py']
features = 'data/mini_world_features/'
model = dict(features=features)
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='TeacherFeatureDataset',
        features=features,
        dataset=dict(
            _base_.train_dataloader.dataset,
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='ResizeLongestSide', size=_base_.image_size),
                dict(type='PackDetInputs'),
            ],
        ),
    )
)
