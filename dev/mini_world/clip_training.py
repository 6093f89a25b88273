"""Contrastive training of a small CLIP on pictures of the small world with captions."""

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

_STREAM = 3  # keeps pictures apart from the scenes of the same seed, whose streams are 0 to 2


@DATASETS.register_module()
class MiniWorldPictures(BaseDataset):
    """Endless pictures of the small world's objects.

    All names occur, novel ones too, as CLIP has seen all names. Nothing is stored: picture i
    depends on seed and i only.
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
        """Draws one picture: `inputs` (3, S, S) uint8 RGB, `category`, its label, and `name`."""
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
    """CLIP's contrastive loss (Radford et al., 2021); pictures of one name are all positives.

    Beside the captions of the batch stand captions of further names as negatives: a small batch
    alone would seldom hold two names that differ in a single word. The batches of all processes are
    one: each compares the pictures of all with the same captions.

    Args:
        model: An open_clip name or configuration; it must have a text tower.
        names: All names that pictures may have, or a registered dataset whose classes they are;
            the negatives are drawn from them. None: no captions but the batch's own.
        num_captions: So many names have a caption in each step.
        dtype: Precision of the image tower, `'float32'` or `'bfloat16'` (autocast); text tower
            and loss are in float32.
        templates: Sentences with one `{}`; each caption takes one at random.
        logit_scale: Initial inverse temperature; learned up to 100, what recognition uses.
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
        """Encode normalized pictures `(B, 3, H, W)`, or compare them with captions.

        In mode `'tensor'` embeddings are `(B, D)`, in mode `'loss'` there are losses for the name
        of each.
        """
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        if mode == 'tensor':
            return self.clip.encode_image(inputs, normalize=True)
        if mode == 'loss':
            return self.loss(inputs, name)
        raise ValueError(f"CLIPPretrainer has modes 'tensor' and 'loss', not {mode!r}.")

    def loss(self, inputs: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
        """Symmetric cross entropy of pictures and captions, and the share of right best matches."""
        names = [name for part in all_gather_object(list(names)) for name in part]
        drawn = [self._captions(names)]
        broadcast_object_list(drawn)  # those of the main process for all
        captions = drawn[0]
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
        shown = group.unique()
        same = (shown[:, None] == group[None]).float()
        return {
            'loss_image': F.cross_entropy(logits, group) / 2,
            'loss_text': F.cross_entropy(logits.T[shown], same / same.sum(1, keepdim=True)) / 2,
            'match_accuracy': 100 * (logits.argmax(1) == group).float().mean(),
        }

    def _captions(self, names: Sequence[str]) -> dict[str, str]:
        """A caption of each name of a batch, in any order of it, and of further names."""
        others = [self.names[i] for i in torch.randperm(len(self.names)).tolist()]
        distinct = sorted(set(names))
        wanted = max(self.num_captions, len(distinct))
        distinct = list(dict.fromkeys([*distinct, *others[:wanted]]))[:wanted]
        picks = torch.randint(len(self.templates), (len(distinct),)).tolist()
        return {name: self.templates[i].format(name) for i, name in zip(picks, distinct)}


def with_global_statistics(module: nn.Module) -> nn.Module:
    """Make each `nn.BatchNorm2d` of a module a `GlobalBatchNorm2d`, in place.

    Args:
        module: Whose batch normalizations have scale, shift and a momentum, as by default.
    """
    for part in module.modules():
        if type(part) is nn.BatchNorm2d:
            part.__class__ = GlobalBatchNorm2d
    return module
