# ImageNet-21K: data/imagenet22k/n01440764/*.JPEG and so on. The whole image is the region.
imagenet = dict(
    type='ImageLabelDataset',
    data_root='data/imagenet22k/',
    classes='imagenet22k',
    img_suffix='.JPEG',
    pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='RandomFlip', prob=0.5),
        # never cut: a part of it may show something else
        dict(type='RandomResize', scale=(1024, 1024), ratio_range=(0.2, 1.0), keep_ratio=True),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'img_shape', 'true_labels')),
    ],
)
