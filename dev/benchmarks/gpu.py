"""GPU benchmarks: encoders, prompts, everything-mode, a detector and training steps."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
import torchvision
from mmcv.ops import roi_align
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from torch import nn

from mmovsam.apis import OVSAMPredictor
from mmovsam.config_files import find_config
from mmovsam.models.prepare import prepare_for_inference
from mmovsam.prompts import DetectorPrompter
from mmovsam.teacher_features import encode
from .cases import build_model, random_boxes, random_click, random_vocabulary

Case = tuple[str, int, Callable[[], object]]
"""Name, number and function of a benchmark."""
META = dict(ori_shape=(480, 640), img_shape=(768, 1024), scale_factor=(1.6, 1.6))
CONFIGS = dict(
    ovsam='ovsam_lvis.py',
    distiller='sam2clip_rn50x16_store.py',
    detector='mmdet::rtmdet/rtmdet_l_8xb32-300e_coco.py',
)
TINY_CONFIGS = dict(
    ovsam='mini/ovsam_mini_boxes.py',
    distiller='mini/sam2clip_mini_store.py',
    detector='mini/rtmdet_mini.py',
)


@contextlib.contextmanager
def tf32(enabled: bool) -> Iterator[None]:
    """Enable or disable TF32."""
    flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = enabled
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = flags


def inference(device: str, tiny: bool) -> Iterator[Case]:
    """Encoding, clicks, boxes and everything-mode; here and below, `tiny` is for small sizes."""
    model = build_model(_config('ovsam', tiny), None, device)
    random_vocabulary(model, 20 if tiny else 1203)
    model.test_cfg.update(head_region='prompt', clip_region='prompt')
    prepare_for_inference(model)
    size = model.input_size
    scale = size / 1024
    meta = dict(META, img_shape=(int(768 * scale), size), scale_factor=(1.6 * scale,) * 2)

    def encoding(batch, dtype, rounded):
        images = torch.randn(batch, 3, size, size, device=device)

        def run():
            model.encoder_dtype = dtype
            with torch.no_grad(), tf32(rounded):
                return model.extract_feat(images)

        return run

    kinds = [('bfloat16', torch.bfloat16, False), ('TF32', torch.float32, True)]
    kinds.append(('float32', torch.float32, False))
    for name, dtype, rounded in kinds:
        for batch in (1, 2) if tiny else (1, 4, 8):
            yield f'encode, {name}', batch, encoding(batch, dtype, rounded)

    features = encoding(1, torch.bfloat16, False)()
    to_original = (640 / size, 640 / size)

    def predict(prompts):
        return lambda: model.predict_prompts(features, prompts, meta)

    yield 'click', 1, predict(random_click(size).scaled(to_original))
    for number in (1, 5) if tiny else (1, 50, 300):
        boxes = random_boxes(number, int(size * 0.75)).scaled(to_original)
        yield 'boxes', number, predict(boxes)

    encode_image, predict_boxes = encoding(1, torch.bfloat16, False), predict(boxes[:50])
    yield (
        'encode, bfloat16, and boxes',
        len(boxes[:50]),
        lambda: (encode_image(), predict_boxes()),
    )

    predictor = OVSAMPredictor(model, cache_size=0)
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    points = 4 if tiny else 32
    # masks of random weights are noise, of which none is stable
    options = dict(points_per_side=points, stability_thr=1.0)
    everything = partial(predictor.segment_everything, picture, **options)
    yield 'set_image and everything, points', points**2, everything


def photo(device: str, tiny: bool) -> Iterator[Case]:
    """The photo model: an image, a click, boxes and everything-mode."""
    predictor = OVSAMPredictor.from_pretrained('ovsam-photo', device=device, cache_size=0)
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    yield 'photo model, float32, set_image', 1, lambda: predictor.set_image(picture)
    click = dict(point_coords=[[320, 240]], point_labels=[1])
    yield (
        'photo model, float32, click',
        1,
        lambda: predictor.predict(**click, multimask_output=False),
    )
    boxes = random_boxes(5 if tiny else 50, 480)
    predict = partial(predictor.predict_batch, boxes, mask_format='rle', keep_logits=False)
    yield 'photo model, float32, boxes', len(boxes), predict
    number = 4 if tiny else 100
    everything = partial(predictor.segment_everything, picture, num_proposals=number)
    yield 'photo model, float32, set_image and everything, proposals', number, everything


def compiled(device: str, tiny: bool) -> Iterator[Case]:
    """Boxes by a compiled model, which takes a minute or two; not for small sizes."""
    if tiny:
        return
    model = build_model(_config('ovsam', tiny), None, device)
    random_vocabulary(model, 1203)
    prepare_for_inference(model, torch.bfloat16, compile=True)
    boxes = random_boxes(50, model.input_size)
    images = torch.randn(1, 3, model.input_size, model.input_size, device=device)

    def run():
        with torch.no_grad():
            return model.recognize(model.extract_feat(images), boxes)

    yield 'encode, bfloat16, and boxes, compiled', len(boxes), run


def detector(device: str, tiny: bool) -> Iterator[Case]:
    """Boxes of a detector with random weights."""
    prompter = DetectorPrompter(_name('detector', tiny), score_thr=0.0).to(device)
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    sample = DetDataSample(metainfo=dict(META, img_id=0, ori_img=picture))
    yield 'detector prompts', 1, lambda: prompter([sample])


def training(device: str, tiny: bool) -> Iterator[Case]:
    """A step of CLIP2SAM."""
    model = build_model(_config('ovsam', tiny), None, device)
    random_vocabulary(model, 20 if tiny else 1203)
    number, size = (3, model.input_size) if tiny else (40, model.input_size)
    samples = [_annotated(number, size, seed) for seed in range(2)]
    yield 'CLIP2SAM step, bfloat16', 2, _step(model, samples, device)


def distilling(device: str, tiny: bool) -> Iterator[Case]:
    """The teacher, and a step of SAM2CLIP."""
    init_default_scope('mmdet')
    cfg = _config('distiller', tiny).model
    size = cfg.data_preprocessor.get('image_size', 1024)
    samples = [_annotated(3, size, seed) for seed in range(2)]
    teacher = cfg.pop('teacher')
    sam = MODELS.build({**teacher, 'init_cfg': None}).to(device).eval()
    for batch in (1,) if tiny else (1, 4):
        images = torch.randn(batch, 3, size, size, device=device)
        features = partial(_bfloat16, sam, images)
        yield 'SAM features, bfloat16', batch, features
    embedding = features()[0].float().cpu()
    del sam, features

    distiller = MODELS.build({**cfg, 'features': 'stored', 'teacher': teacher}).to(device)
    for _, sample in samples:
        sample.teacher_embedding = encode(embedding, 'int8')
        sample.set_metainfo(dict(teacher=distiller.fingerprint))
    yield 'SAM2CLIP step from a store, bfloat16', 2, _step(distiller, samples, device)


def _name(part: str, tiny: bool) -> str:
    return (TINY_CONFIGS if tiny else CONFIGS)[part]


def _config(part: str, tiny: bool) -> Config:
    return Config.fromfile(find_config(_name(part, tiny)))


@torch.no_grad()
def _bfloat16(module: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.autocast(images.device.type, torch.bfloat16):
        return module(images)


def _step(model: nn.Module, samples: list, device: str) -> Callable[[], None]:
    """A training step: loss, gradients and optimizer."""
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-9)
    images, data_samples = zip(*samples)
    batch = dict(inputs=list(images), data_samples=list(data_samples))

    def run():
        data = model.data_preprocessor(batch, True)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            losses = model(**data, mode='loss')
        model.parse_losses(losses)[0].backward()
        optimizer.step()
        optimizer.zero_grad()

    return run


def _annotated(number: int, size: int, seed: int) -> tuple[torch.Tensor, DetDataSample]:
    """An image of noise with annotated objects."""
    random = np.random.default_rng(seed)
    bboxes = random_boxes(number, size).bboxes
    masks = np.zeros((number, size, size), np.uint8)
    for mask, bbox in zip(masks, bboxes.int().tolist()):
        mask[bbox[1] : bbox[3] + 1, bbox[0] : bbox[2] + 1] = 1
    sample = DetDataSample(metainfo=dict(img_id=seed, img_shape=(size, size), seed=seed))
    sample.gt_instances = InstanceData(
        bboxes=bboxes,
        labels=torch.from_numpy(random.integers(0, 20, number)),
        masks=BitmapMasks(masks, size, size),
    )
    return torch.from_numpy(random.integers(0, 256, (3, size, size), dtype=np.uint8)), sample


def regions(device: str, tiny: bool) -> Iterator[Case]:
    """RoIAlign of mmcv and torchvision."""
    side, channels = (16, 8) if tiny else (256, 256)
    features = torch.randn(1, channels, side, side, device=device)
    rois = nn.functional.pad(random_boxes(100, side * 4).bboxes.to(device), (1, 0))
    yield 'RoIAlign, mmcv', 100, lambda: roi_align(features, rois, 12, 0.25, 0, 'avg', True)
    if hasattr(torch.ops.torchvision, 'roi_align'):
        other = torchvision.ops.roi_align
        yield 'RoIAlign, torchvision', 100, lambda: other(features, rois, 12, 0.25, 0, True)


GROUPS = (inference, photo, training, distilling, detector, regions, compiled)
