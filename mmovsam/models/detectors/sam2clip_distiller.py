"""SAM2CLIP, stage one of OVSAM: the adapter learns SAM's embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor

from ...layers import to_device
from ...teacher_features import FeatureStore, input_settings, weights_fingerprint


@MODELS.register_module()
class SAM2CLIPDistiller(BaseModel):
    """Mean squared error between SAM's embedding and the neck's, from CLIP's pyramid.

    Args:
        backbone: The frozen CLIP tower.
        neck: The adapter, the only part that trains.
        teacher: SAM's image encoder, frozen. With stored features it is only compared with the
            one that made them, and may be None.
        features: Folder of the teacher's stored embeddings, which `TeacherFeatureDataset` adds to
            the batches; None to compute them.
        ignore_padding: Whether the loss leaves out positions of nothing but padding, and is the
            mean over the others of an image, then over the images. The paper's includes them.
        data_preprocessor: Normalizes and pads.
        init_cfg: MMEngine's initialization.

    Raises:
        ValueError: There is neither a teacher nor a folder of its embeddings.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        teacher: dict | None = None,
        features: str | None = None,
        ignore_padding: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if teacher is None and features is None:
            raise ValueError('SAM2CLIPDistiller needs a teacher, or features that one has made.')
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.features = features
        self.ignore_padding = ignore_padding
        self.teacher_cfg = teacher
        self.teacher = None
        self.fingerprint = None  # of the teacher that made the stored features, once opened
        if features is None:
            self.teacher = MODELS.build(teacher)
            self.teacher.frozen = True
            self.teacher.requires_grad_(False).eval()

    def init_weights(self) -> None:
        """Initialize, and copy the teacher's position embedding to the neck where the shapes agree.

        Raises:
            ValueError: The stored features are of another teacher, or of other inputs.
        """
        super().init_weights()
        position = self.teacher.pos_embed if self.features is None else self._open_store().pos_embed
        if self.neck.pos_embed.shape == position.shape:
            self.neck.pos_embed.copy_(position.detach())

    def _open_store(self) -> FeatureStore:
        store = FeatureStore(self.features)
        store.require(**input_settings(self.data_preprocessor))
        if self.teacher_cfg is None:
            print_log(
                f'The features in {self.features} are taken as they are: the config names no '
                'teacher to compare with theirs.',
                logger='current',
            )
        elif is_main_process():
            with torch.random.fork_rng(devices=[]):  # the student starts as with a live teacher
                teacher = MODELS.build(self.teacher_cfg)
                teacher.init_weights()
            store.require(teacher=weights_fingerprint(teacher))
        self.fingerprint = store.metadata['teacher']
        return store

    def forward(
        self,
        inputs: Tensor,
        data_samples: Sequence[DetDataSample] | None = None,
        mode: str = 'tensor',
    ) -> Tensor | dict[str, Tensor]:
        """Adapt a batch, to `(B, C, S / 16, S / 16)`, or compare it with the teacher.

        Args:
            inputs: `(B, 3, S, S)`, normalized and padded.
            data_samples: B samples, which the loss needs: `teacher_embedding`, if it is stored, and
                `img_shape`, if padding is left out.
            mode: `'tensor'` or `'loss'`.

        Raises:
            ValueError: Another mode; or a sample lacks its embedding, or has another teacher's.
        """
        if mode not in ('tensor', 'loss'):
            raise ValueError(f"SAM2CLIPDistiller has modes 'tensor' and 'loss', not {mode!r}.")
        if mode == 'tensor':
            return self.neck(self.backbone(inputs))
        # The teacher goes first: its activations are freed before the student's are kept.
        if self.features is None:
            with torch.no_grad():
                teacher = self.teacher(inputs)
        else:
            teacher = self._stored_embeddings(data_samples, inputs.device)
        student = self.neck(self.backbone(inputs))
        if not self.ignore_padding:
            return dict(loss_distill=F.mse_loss(student, teacher))
        weights = _image_weights(student, inputs.shape[-1] // student.shape[-1], data_samples)
        squares = F.mse_loss(student, teacher, reduction='none').mean(1)
        return dict(loss_distill=(squares * weights).sum() / len(squares))

    def _stored_embeddings(
        self, data_samples: Sequence[DetDataSample], device: torch.device
    ) -> Tensor:
        """The teacher's embeddings `(B, C, h, w)` in a batch."""
        for sample in data_samples:
            if 'teacher_embedding' not in sample:
                raise ValueError(
                    f'Image {sample.img_id!r} comes without its embedding. Wrap the data set: '
                    "dict(type='TeacherFeatureDataset', features=..., dataset=...)."
                )
            if self.fingerprint not in (None, sample.teacher):
                raise ValueError(
                    f'The embedding of image {sample.img_id!r} is of another teacher than '
                    f'{self.features}. Give model and data set the same folder of features.'
                )
        embeddings = [sample.teacher_embedding for sample in data_samples]
        embeddings = [replace(e, data=to_device(e.data, device)) for e in embeddings]
        return torch.stack([embedding.decode() for embedding in embeddings])


def _image_weights(student: Tensor, stride: int, data_samples: Sequence[DetDataSample]) -> Tensor:
    """Weights `(B, h, w)`: equal on the image, 0 on padding, of sum 1 for each image."""
    weights = student.new_zeros((len(student), *student.shape[-2:]), dtype=torch.float32)
    for weight, sample in zip(weights, data_samples):
        height, width = (-(-side // stride) for side in sample.img_shape[:2])
        weight[:height, :width] = 1 / (height * width)
    return weights
