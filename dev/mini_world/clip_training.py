"""Contrastive training of a small CLIP on captioned pictures of the small world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from mmdet.registry import DATASETS, MODELS
from mmengine.dataset import BaseDataset
from mmengine.dist import all_gather_object, broadcast_object_list, get_world_size
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmovsam.layers import GlobalBatchNorm2d
from mmovsam.vocabulary import OVSAM_TEMPLATES, clip_model_config

from .categories import CATEGORIES
from .pictures import draw_picture

_STREAM = 3  # of seeds, apart from those of scenes, 0 to 2


@DATASETS.register_module()
class MiniWorldPictures(BaseDataset):
    """Endless pictures of the small world's objects.

    All names occur, also novel ones, since CLIP has seen all names. Picture i depends on seed and
    i only.
    """

    METAINFO = dict(
        classes=tuple(category.name for category in CATEGORIES),
        novel=tuple(category.novel for category in CATEGORIES),
    )

    def __init__(self, num_images, seed=0, image_size=128, pipeline=()):
        self.num_images = num_images
        self.seed = seed
        self.image_size = image_size
        super().__init__(pipeline=list(pipeline), serialize_data=False)

    def load_data_list(self):
        """Nothing to load."""
        return []

    def __len__(self):
        return self.num_images

    def get_data_info(self, idx):
        """Draw a picture: `inputs` `(3, S, S)` uint8 RGB, `category`, its label, and `name`."""
        index = range(self.num_images)[idx]
        rng = np.random.default_rng([self.seed, _STREAM, index])
        image, category_id = draw_picture(rng, self.image_size)
        return dict(
            inputs=torch.from_numpy(image.transpose(2, 0, 1).copy()),
            category=category_id - 1,
            name=CATEGORIES[category_id - 1].name,
        )


@MODELS.register_module()
class CLIPPretrainer(BaseModel):
    """CLIP's contrastive loss (Radford et al., 2021), with all pictures of a name as positives.

    Captions of further names are negatives, since a small batch rarely has names that differ in a
    single word. All processes share their batches and captions.

    Args:
        model: An open_clip name or configuration; it must have a text tower.
        names: Names, or a registered dataset with these classes, to draw negatives from; None for
            the names of the batch only.
        num_captions: Number of captions in each step.
        dtype: Precision of the image tower, `'float32'` or `'bfloat16'` (autocast); text tower
            and loss are in float32.
        templates: Sentences with one `{}`; each caption takes one at random.
        logit_scale: Initial inverse temperature; learned up to 100.
        data_preprocessor: Normalizes the pictures.
        init_cfg: MMEngine's initialization.
    """

    def __init__(
        self,
        model: str | dict,
        names: Sequence[str] | str | None = None,
        num_captions: int = 256,
        dtype: str = 'float32',
        templates: Sequence[str] = OVSAM_TEMPLATES,
        logit_scale: float = 30.0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        config = clip_model_config(model)
        self.clip = with_global_statistics(open_clip.CLIP(**config))
        self.clip.visual.to(memory_format=torch.channels_last)  # a third faster on a CPU
        self.clip.logit_scale.data.fill_(logit_scale).log_()
        if isinstance(names, str):
            names = DATASETS.get(names).METAINFO['classes']
        self.names = tuple(names or ())
        self.num_captions = num_captions
        self.dtype = getattr(torch, dtype)
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
        """Encode normalized pictures `(B, 3, H, W)`, or compute losses.

        Returns embeddings `(B, D)` in mode `'tensor'`, and a dictionary in mode `'loss'`.
        """
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        if mode == 'tensor':
            return self.clip.encode_image(inputs, normalize=True)
        if mode == 'loss':
            return self.loss(inputs, name)
        raise ValueError(f"CLIPPretrainer has modes 'tensor' and 'loss', not {mode!r}.")

    def loss(self, inputs: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Symmetric cross entropy of pictures and captions, and the accuracy of matches."""
        names = [name for batch in all_gather_object(list(names)) for name in batch]
        objects = [self._captions(names)]
        broadcast_object_list(objects)  # from the main process
        captions = objects[0]
        tokens = self.tokenizer(list(captions.values())).to(inputs.device)
        with torch.autocast(inputs.device.type, self.dtype, self.dtype != torch.float32):
            images = self.clip.encode_image(inputs).float()
        if get_world_size() > 1:
            from torch.distributed.nn.functional import all_gather

            images = torch.cat(all_gather(images))
        texts = self.clip.encode_text(tokens)
        scale = self.clip.logit_scale.exp().clamp(max=100)
        # (pictures, captions)
        logits = scale * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T

        index = {name: i for i, name in enumerate(captions)}
        group = torch.tensor([index[name] for name in names], device=inputs.device)
        present = group.unique()
        same = (present[:, None] == group[None]).float()
        return {
            'loss_image': F.cross_entropy(logits, group) / 2,
            'loss_text': F.cross_entropy(logits.T[present], same / same.sum(1, keepdim=True)) / 2,
            'match_accuracy': 100 * (logits.argmax(1) == group).float().mean(),
        }

    def _captions(self, names: Sequence[str]) -> dict[str, str]:
        """Captions of the names of a batch, whatever its order, and of further names."""
        negatives = [self.names[i] for i in torch.randperm(len(self.names)).tolist()]
        distinct = sorted(set(names))
        count = max(self.num_captions, len(distinct))
        distinct = list(dict.fromkeys([*distinct, *negatives[:count]]))[:count]
        picks = torch.randint(len(self.templates), (len(distinct),)).tolist()
        return {name: self.templates[i].format(name) for i, name in zip(picks, distinct)}


def with_global_statistics(module: nn.Module) -> nn.Module:
    """Turn each `nn.BatchNorm2d` of a module into a `GlobalBatchNorm2d`, in place."""
    for child in module.modules():
        if type(child) is nn.BatchNorm2d:
            child.__class__ = GlobalBatchNorm2d
    return module
