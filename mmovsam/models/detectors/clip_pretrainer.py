"""Contrastive training of a CLIP model on pictures with captions, for the small world."""

from __future__ import annotations

from collections.abc import Sequence

import open_clip
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmengine.model import BaseModel
from torch import Tensor

from ...vocabulary import OVSAM_TEMPLATES
from ..backbones import clip_model_config


@MODELS.register_module()
class CLIPPretrainer(BaseModel):
    """CLIP's contrastive loss (Radford et al., 2021); pictures of one name are all positives.

    Args:
        model: An open_clip name or configuration; it must have a text tower.
        templates: Sentences with one `{}`; each caption takes one at random.
        logit_scale: Initial inverse temperature; learned up to `max_logit_scale`.
        max_logit_scale: What recognition uses (100, exp(4.6052)).
        data_preprocessor: Normalizes the pictures.
        init_cfg: MMEngine's initialization.
    """

    def __init__(
        self,
        model: str | dict,
        templates: Sequence[str] = OVSAM_TEMPLATES,
        logit_scale: float = 30.0,
        max_logit_scale: float = 100.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        config = clip_model_config(model)
        self.clip = open_clip.CLIP(**config)
        self.clip.visual.to(memory_format=torch.channels_last)  # a third faster on a CPU
        self.clip.logit_scale.data.fill_(logit_scale).log_()
        self.max_logit_scale = max_logit_scale
        self.templates = tuple(templates)
        self.tokenizer = open_clip.SimpleTokenizer(
            context_length=config['text_cfg'].get('context_length', 77)
        )

    def forward(
        self,
        inputs: Tensor,
        name: Sequence[str],
        mode: str = 'tensor',
        **_,
    ) -> Tensor | dict | list:
        """Encode pictures, or compare them with their captions.

        Args:
            inputs: `(B, 3, H, W)`, normalized.
            name: What each picture shows.
            mode: `'tensor'` for image embeddings `(B, D)`, `'loss'` for the losses.

        Raises:
            ValueError: Another mode.
        """
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        if mode == 'tensor':
            return self.clip.encode_image(inputs, normalize=True)
        if mode == 'loss':
            return self.loss(inputs, name)
        raise ValueError(f"CLIPPretrainer has modes 'tensor' and 'loss', not {mode!r}.")

    def loss(self, inputs: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Symmetric cross entropy of pictures and captions, and the share of right best matches."""
        picks = torch.randint(len(self.templates), (len(names),)).tolist()
        captions = [self.templates[i].format(name) for i, name in zip(picks, names)]
        images = self.clip.encode_image(inputs, normalize=True)
        texts = self.clip.encode_text(self.tokenizer(captions).to(inputs.device), normalize=True)
        scale = self.clip.logit_scale.exp().clamp(max=self.max_logit_scale)
        logits = scale * images @ texts.T

        index = {name: i for i, name in enumerate(dict.fromkeys(names))}
        group = torch.tensor([index[name] for name in names], device=inputs.device)
        same = group[:, None] == group[None]
        target = same / same.sum(1, keepdim=True)
        hits = same[torch.arange(len(group), device=inputs.device), logits.argmax(1)]
        return {
            'loss_image': F.cross_entropy(logits, target) / 2,
            'loss_text': F.cross_entropy(logits.T, target) / 2,
            'match_accuracy': 100 * hits.float().mean(),
        }
