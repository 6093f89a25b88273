"""SAM's modules against outputs of the original ones on the same weights."""

import pytest
import reference
import torch
from mmdet.registry import MODELS

from mmovsam.layers import MaskDecoder
from mmovsam.prompts import Prompts

TOLERANCE = 1e-4
KINDS = ['points', 'boxes', 'points_boxes', 'points_boxes_mask']


@pytest.fixture(scope='module')
def want():
    return reference.values('sam_tiny')


@pytest.fixture(scope='module')
def sam():
    parts = dict(
        image_encoder=MODELS.build(reference.SAM_TINY_ENCODER),
        prompt_encoder=MODELS.build(dict(type='SAMPromptEncoder', image_size=256)),
        mask_decoder=MaskDecoder(num_masks=4, with_iou=True),
    )
    sam = torch.nn.ModuleDict(parts).eval()
    sam.load_state_dict(reference.weights('sam_tiny'))
    return sam


@pytest.fixture(scope='module')
def embedding(sam):
    image = reference.generator('sam_image').standard_normal((1, 3, 256, 256))
    with torch.no_grad():
        return sam['image_encoder'](torch.from_numpy(image).float())


def difference(got, want):
    assert got.shape == want.shape
    return (got - want).abs().max().item()


def test_embedding_and_dense_positions_equal_the_original_ones(sam, embedding, want):
    largest = difference(embedding[:, ::8], want['image_embedding'])
    positions = difference(sam['prompt_encoder'].dense_pe()[:, ::16], want['dense_pe'])
    print(largest, positions)
    assert max(largest, positions) < TOLERANCE


@torch.no_grad()
@pytest.mark.parametrize('kind', KINDS)
def test_answers_to_prompts_equal_the_original_ones(sam, embedding, want, kind):
    fields = dict(
        points=dict(point_coords=want['points'], point_labels=want['point_labels']),
        boxes=dict(bboxes=want['boxes']),
        mask=dict(mask_input=want['mask_input']),
    )
    given = {name: value for part in kind.split('_') for name, value in fields[part].items()}
    encoder = sam['prompt_encoder']
    sparse, dense = encoder(Prompts(**given))
    decoded = sam['mask_decoder'](embedding, encoder.dense_pe(), sparse, dense)
    logits, iou = decoded.low_res_logits[..., ::4, ::4], decoded.iou_predictions
    differences = dict(
        sparse=difference(sparse[..., ::8], want[f'{kind}_sparse']),
        multi_logits=difference(logits[:, 1:], want[f'{kind}_multi_logits']),
        multi_iou=difference(iou[:, 1:], want[f'{kind}_multi_iou']),
        single_logits=difference(logits[:, :1], want[f'{kind}_single_logits']),
        single_iou=difference(iou[:, :1], want[f'{kind}_single_iou']),
    )
    print(kind, differences)
    assert max(differences.values()) < TOLERANCE


@pytest.mark.parametrize(
    'size, settings',
    [
        ('vit_h', dict()),
        ('vit_l', dict(embed_dim=1024, depth=24, global_attn_indexes=(5, 11, 17, 23))),
        ('vit_b', dict(embed_dim=768, depth=12, num_heads=12, global_attn_indexes=(2, 5, 8, 11))),
    ],
)
def test_names_and_shapes_are_those_of_the_released_sam(size, settings):
    with torch.device('meta'):
        sam = torch.nn.ModuleDict(
            dict(
                image_encoder=MODELS.build(dict(type='SAMImageEncoder', **settings)),
                prompt_encoder=MODELS.build(dict(type='SAMPromptEncoder')),
                mask_decoder=MaskDecoder(num_masks=4, with_iou=True),
            )
        )
    ours = {name: list(tensor.shape) for name, tensor in sam.state_dict().items()}
    assert ours == reference.shapes(f'sam_{size}')
