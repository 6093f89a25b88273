"""Benchmark cases, each with its plain implementation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn

from mmovsam.checkpoints import check_fit, load_checkpoint_file, state_dict_of
from mmovsam.export import ONNXModel
from mmovsam.models.detectors import OVSAM
from mmovsam.models.detectors.features import ImageFeatures
from mmovsam.models.detectors.run_lengths import encode_logits
from mmovsam.models.prepare import prepare_for_inference
from mmovsam.prompts import Prompts
from mmovsam.vocabulary import TextClassifier
from .measuring import Measured, measure
from .plain import masks_to_rle, plain_twin


def build_model(cfg: Config, checkpoint: str | None = None, device: str = 'cpu') -> nn.Module:
    """The model of a config, in eval mode.

    Args:
        cfg: The config.
        checkpoint: File of weights; None for random ones.
        device: Of the model.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: It is of another model.
    """
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    if 'prompter' in cfg.model:
        cfg.model.prompter = None  # a detector is not measured
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    if checkpoint is not None:
        content = load_checkpoint_file(checkpoint)
        check_fit(model, content, whole=True)
        model.load_state_dict(state_dict_of(content), strict=False)
    else:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):  # 0 in a new CLIP
                nn.init.constant_(module.weight, 0.7)
    return model.to(device).eval()


def random_vocabulary(model: OVSAM, num_names: int) -> None:
    """Set a vocabulary of random embeddings."""
    generator = torch.Generator().manual_seed(num_names)
    embeddings = torch.randn(num_names, 1, model.head.embed_dim, generator=generator)
    model.set_vocabulary(TextClassifier(embeddings, tuple(map(str, range(num_names)))))


def random_boxes(num: int, size: int) -> Prompts:
    """Boxes with sides of 1/50 to 1/2 of the image, log-uniform."""
    generator = torch.Generator().manual_seed(num)
    sides = size * 0.02 * 25 ** torch.rand(num, 2, generator=generator)
    corner = torch.rand(num, 2, generator=generator) * (size - sides)
    return Prompts(bboxes=torch.cat((corner, corner + sides), dim=1))


def random_click(size: int) -> Prompts:
    """One point at the center."""
    return Prompts(
        point_coords=torch.full((1, 1, 2), size / 2), point_labels=torch.ones(1, 1).long()
    )


def random_masks(num: int) -> Tensor:
    """Logits `(num, 1, 256, 256)` of rough ellipses of all sizes, in an image of 256x192."""
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing='ij')
    logits = torch.empty(num, 1, 256, 256)
    for mask in logits[:, 0]:
        radii = 2.5 * 40 ** torch.rand(2, generator=generator)
        center = torch.rand(2, generator=generator) * torch.tensor([192.0, 256.0])
        squared = ((y - center[0]) / radii[0]) ** 2 + ((x - center[1]) / radii[1]) ** 2
        mask[:] = 6 * (1 - squared).clamp(min=-2)
        mask += 0.5 * torch.randn(mask.shape, generator=generator)
    return logits


def encode(model: OVSAM, dtype: torch.dtype, pairs: int) -> Iterator[Measured]:
    """Encode an image with a model prepared for inference."""
    device = next(model.parameters()).device
    twin = plain_twin(model)
    prepare_for_inference(model, dtype)
    image = torch.randn(1, 3, model.input_size, model.input_size, device=device)
    name = f'encode, {str(dtype).removeprefix("torch.")}'
    with torch.no_grad():
        yield measure(
            name,
            1,
            lambda: model.extract_feat(image),
            lambda: twin.extract_feat(image),
            pairs,
            device,
        )


def prompts(
    model: OVSAM, numbers: Sequence[int], plain_up_to: int, pairs: int
) -> Iterator[Measured]:
    """Low-resolution masks and names of a click and of boxes, in an encoded image."""
    random_vocabulary(model, 80)
    # masks of random weights are noise all over the image
    model.test_cfg.update(head_region='prompt', clip_region='prompt')
    twin = plain_twin(model)
    prepare_for_inference(model)
    device = next(model.parameters()).device
    with torch.no_grad():
        features = _random_features(model)
        cases = [('one click', random_click(model.input_size))]
        cases += [('boxes', random_boxes(number, model.input_size)) for number in numbers]
        for name, batch in cases:
            plain = None
            batch = batch.to(device)
            if len(batch) <= plain_up_to:
                plain = _recognize(twin, features, batch, len(batch))
            work = _recognize(model, features, batch, model.chunk_size)
            yield measure(name, len(batch), work, plain, pairs, device)


def vocabulary(
    model: OVSAM, numbers: Sequence[int], num_regions: int, pairs: int
) -> Iterator[Measured]:
    """Classify regions of an encoded image with vocabularies of several sizes."""
    device = next(model.parameters()).device
    with torch.no_grad():
        features = _random_features(model)
        boxes = random_boxes(num_regions, model.input_size).bboxes.to(device)

        def name_regions():
            head = model.head.embed_regions(features.region_maps, boxes)
            clip = model.backbone.embed_regions(features.stage4, boxes, None)
            logits = [model.classifier.logits(embeddings) for embeddings in (head, clip)]
            visible = torch.ones(num_regions, dtype=torch.bool, device=device)
            fused = model.classifier.fuse(*logits, visible)
            return model.classifier.probabilities(fused).topk(min(5, model.classifier.num_classes))

        for number in numbers:
            random_vocabulary(model, number)
            yield measure(
                f'{num_regions} regions, names', number, name_regions, None, pairs, device
            )


def masks(number: int, ori_shape: tuple[int, int], plain_number: int) -> Iterator[Measured]:
    """Masks at the size of an image as RLEs; the plain twin does a part of them."""
    logits = random_masks(number)
    height, width = ori_shape
    img_shape = (768, 1024)
    chunk = logits[:plain_number]

    def fast():
        return encode_logits(chunk, 1024, img_shape, ori_shape)

    def plain():
        return masks_to_rle(chunk, 1024, img_shape, ori_shape)

    if fast() != plain():
        raise ValueError('The run lengths differ from those of the plain way.')
    name = f'masks at {width}x{height} to run lengths'
    yield measure(name, plain_number, fast, plain, 3)
    yield measure(name, number, lambda: encode_logits(logits, 1024, img_shape, ori_shape), None, 1)


def train_step(cfg: Config, device: str, pairs: int) -> Iterator[Measured]:
    """A training step of a config on its own data."""
    model = build_model(cfg, None, device)
    model.init_weights()
    twin = plain_twin(model)
    loader = cfg.train_dataloader
    dataset = DATASETS.build(loader.dataset)
    batch = pseudo_collate([dataset[index] for index in range(loader.batch_size)])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-9)

    def step(module):
        def run():
            torch.manual_seed(0)
            data = module.data_preprocessor(batch, True)
            losses = module(**data, mode='loss')
            total, _ = module.parse_losses(losses)
            total.backward()
            optimizer.step()
            optimizer.zero_grad()

        return run

    model.train(), twin.train()
    name = f'step of {loader.batch_size} images'
    yield measure(name, loader.batch_size, step(model), step(twin), pairs, device)


def exported(model: OVSAM, folder: str, numbers: Sequence[int], pairs: int) -> Iterator[Measured]:
    """An export in onnxruntime beside a prepared model in PyTorch."""
    size = model.input_size
    threads = torch.get_num_threads()
    names = ONNXModel(folder).settings['files']
    sessions = {name: ONNXModel(folder, name, threads) for name in names}
    vocabulary = sessions['float32'].vocabulary
    if vocabulary is not None:
        model.set_vocabulary(vocabulary.classifier)
    prepare_for_inference(model)
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    step = model.chunk_size
    with torch.no_grad():
        features = model.extract_feat(image)
        for name, session in sessions.items():
            encode = partial(session.encode, image.numpy())
            yield measure(f'encode, {name}', 1, encode, lambda: model.extract_feat(image), pairs)
            encoded = encode()
            for number in numbers:
                boxes = random_boxes(number, size)

                def decode(session=session, encoded=encoded, boxes=boxes):
                    for start in range(0, len(boxes), step):
                        session.decode(encoded, boxes[start : start + step], (size, size))

                recognize = _recognize(model, features, boxes, step)
                yield measure(f'boxes, {name}', number, decode, recognize, pairs)


def loader(cfg: Config, num_batches: int) -> Iterator[Measured]:
    """Load batches of a config's training data."""
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    batches = iter(itertools.cycle(Runner.build_dataloader(cfg.train_dataloader)))
    number = num_batches * cfg.train_dataloader.batch_size
    workers = cfg.train_dataloader.num_workers

    def read():
        for _ in range(num_batches):
            next(batches)

    yield measure(f'images read by {workers} workers', number, read, None, 3)


def _random_features(model: OVSAM) -> ImageFeatures:
    """Random features: the cost of prompts does not depend on the image."""
    device = next(model.parameters()).device
    size, generator = model.input_size, torch.Generator().manual_seed(0)

    def random(channels, stride):
        shape = (1, channels, size // stride, size // stride)
        return torch.randn(shape, generator=generator).to(device)

    channels = model.prompt_encoder.no_mask_embed.embedding_dim
    extractor = model.head.roi_extractor
    maps = tuple(random(extractor.out_channels, stride) for stride in extractor.featmap_strides)
    return ImageFeatures(random(channels, 16), random(model.backbone.channels[-1], 32), maps)


def _recognize(model: OVSAM, features: ImageFeatures, prompts: Prompts, step: int):
    def run():
        for start in range(0, len(prompts), step):
            outputs = model.recognize(features, prompts[start : start + step])
            model.classifier.probabilities(outputs.fused_logits)

    return run
