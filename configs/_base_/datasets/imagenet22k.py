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
# What names alone do not join: classes of COCO that LVIS has, and classes of ImageNet-21K that COCO
# has and that share a name with others.
coco_as_lvis = {
    'bus': 'bus_(vehicle)',
    'car': 'car_(automobile)',
    'cell phone': 'cellular_telephone',
    'couch': 'sofa',
    'donut': 'doughnut',
    'fire hydrant': 'fireplug',
    'hair drier': 'hair_dryer',
    'keyboard': 'computer_keyboard',
    'laptop': 'laptop_computer',
    'microwave': 'microwave_oven',
    'mouse': 'mouse_(computer_equipment)',
    'orange': 'orange_(fruit)',
    'remote': 'remote_control',
    'skis': 'ski',
    'tie': 'necktie',
    'train': 'train_(railroad_vehicle)',
    'tv': 'television_set',
    'wine glass': 'wineglass',
}
imagenet_as_coco = {
    'bed (n02818832)': 'bed',
    'bicycle, bike, wheel, cycle': 'bicycle',
    'bowl (n02880940)': 'bowl',
    'bus, autobus, coach, charabanc, double-decker, jitney, motorbus, motorcoach, omnibus, '
    'passenger vehicle': 'bus_(vehicle)',
    'car, auto, automobile, machine, motorcar': 'car_(automobile)',
    'cat, true cat': 'cat',
    'chair (n03001627)': 'chair',
    'computer keyboard, keypad': 'computer_keyboard',
    'cow, moo-cow': 'cow',
    'cup (n03147509)': 'cup',
    'dog, domestic dog, Canis familiaris': 'dog',
    'doughnut, donut, sinker': 'doughnut',
    'horse, Equus caballus': 'horse',
    'knife (n03623556)': 'knife',
    'laptop, laptop computer': 'laptop_computer',
    'mouse, computer mouse': 'mouse_(computer_equipment)',
    'necktie, tie': 'necktie',
    'orange': 'orange_(fruit)',
    'sheep (n02411705)': 'sheep',
    'spoon (n04284002)': 'spoon',
    'television receiver, television, television set, tv, tv set, idiot box, boob tube, telly, '
    'goggle box': 'television_set',
    'train, railroad train': 'train_(railroad_vehicle)',
    'truck, motortruck': 'truck',
}
