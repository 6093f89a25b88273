"""The photo model beside MobileSAM's encoder and CLIP on a CPU."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import open_clip
import timm
import torch

from mmovsam.apis import OVSAMPredictor
from .measuring import Measured, measure

SIZE = (480, 640)


def laptop(pairs: int) -> Iterator[Measured]:
    """Encoding, boxes and clicks, in turn with random TinyViT-5M at 1024x1024 and CLIP's ViT-B/32.

    TinyViT-5M stands for MobileSAM without its decoder, and CLIP names one crop.
    """
    predictor = OVSAMPredictor.from_pretrained('ovsam-photo', device='cpu', cache_size=0)
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    tiny_vit = timm.create_model('tiny_vit_5m_224', features_only=True, out_indices=(3,)).eval()
    clip = open_clip.create_model('ViT-B-32').visual.eval()
    inputs, crop = torch.randn(1, 3, 1024, 1024), torch.randn(1, 3, 224, 224)
    box, point = np.array([100, 80, 400, 380]), np.array([[250, 200]])

    @torch.inference_mode()
    def encode_tiny_vit() -> None:
        tiny_vit(inputs)

    @torch.inference_mode()
    def embed_crop() -> None:
        clip(crop)

    def first_mask() -> None:
        predictor.set_image(image)
        predictor.predict(box=box, multimask_output=False)

    yield measure('image and a named box', 1, first_mask, encode_tiny_vit, pairs)
    yield measure('image', 1, lambda: predictor.set_image(image), encode_tiny_vit, pairs)
    for multimask, masks in ((False, 1), (True, 3)):
        settings = dict(multimask_output=multimask)
        for name, prompt in (
            ('named box', dict(box=box)),
            ('named click', dict(point_coords=point, point_labels=np.ones(1))),
        ):
            yield measure(
                f'{name}, {masks} masks',
                1,
                lambda prompt=prompt: predictor.predict(**prompt, **settings),  # noqa: B023
                embed_crop,
                pairs,
            )
