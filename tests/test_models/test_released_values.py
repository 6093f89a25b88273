"""The model against outputs of the released OVSAM code on the same weights."""

import pytest
import reference
import torch
import torch.nn.functional as F
from mmdet.registry import MODELS

from mmovsam.prompts import Prompts
from mmovsam.vocabulary import TextClassifier

STAGES = [256, 512, 1024, 2048]
STRIDES = {
    'clip_stage1': (1, 64, 16, 16),
    'clip_stage2': (1, 64, 8, 8),
    'clip_stage3': (1, 64, 4, 4),
    'clip_stage4': (1, 64, 2, 2),
    'neck': (1, 16, 4, 4),
    'fpn0': (1, 32, 16, 16),
    'fpn1': (1, 32, 8, 8),
    'fpn2': (1, 32, 4, 4),
    'fpn3': (1, 32, 2, 2),
}
META = dict(img_shape=(768, 1024), ori_shape=(480, 640), scale_factor=(1.6, 1.6))
TOLERANCE = 1e-4


@pytest.fixture(scope='module')
def want():
    return reference.values('ovsam_rn50_small')


@pytest.fixture(scope='module')
def model():
    model = MODELS.build(
        dict(
            type='OVSAM',
            data_preprocessor=dict(type='OVSAMDataPreprocessor'),
            backbone=dict(type='OpenCLIPBackbone', model='RN50'),
            neck=dict(type='SAM2CLIPNeck', in_channels=STAGES, embed_dim=64),
            region_neck=dict(type='FPN', in_channels=STAGES, out_channels=256, num_outs=4),
            prompt_encoder=dict(type='SAMPromptEncoder'),
            head=dict(type='CLIP2SAMHead', embed_dim=1024),
            classifier=dict(type='OpenVocabClassifier'),
        )
    )
    state_dict = reference.weights('ovsam_rn50_small')
    model.load_state_dict(reference.by_our_names(state_dict))
    return model.eval()


@pytest.fixture(scope='module')
def features(model):
    bgr = reference.picture().flip(0)
    batch = model.data_preprocessor({'inputs': [bgr], 'data_samples': None})
    pyramid = []
    handle = model.backbone.register_forward_hook(lambda *args: pyramid.extend(args[-1]))
    with torch.no_grad():
        features = model.extract_feat(batch['inputs'])
    handle.remove()
    return pyramid, features


def text_classifier(novel):
    embeddings = reference.generator('par_cls').standard_normal((20, 3, 1024))
    return TextClassifier(F.normalize(torch.from_numpy(embeddings).float(), dim=-1), novel=novel)


SPLIT = tuple([False] * 12 + [True] * 6 + [None] * 2)


def difference(got, want):
    assert got.shape == want.shape
    return (got - want).abs().max().item()


def test_features_equal_the_released_ones(features, want):
    pyramid, feats = features
    maps = {f'clip_stage{i + 1}': level for i, level in enumerate(pyramid)}
    maps |= {f'fpn{i}': level for i, level in enumerate(feats.region_maps)}
    maps['neck'] = feats.embedding
    differences = {
        name: difference(reference.sampled(maps[name], *strides), want[name])
        for name, strides in STRIDES.items()
    }
    print(differences)
    assert max(differences.values()) < TOLERANCE
    assert abs(feats.embedding.mean() - want['neck_mean']) < TOLERANCE
    assert abs(feats.embedding.std() - want['neck_std']) < TOLERANCE


@pytest.mark.parametrize('region', ['mask', 'prompt'])
@pytest.mark.parametrize('kind', ['box', 'point'])
def test_answers_to_prompts_equal_the_released_ones(model, features, want, kind, region):
    model.set_vocabulary(text_classifier(SPLIT))
    said, instances = answer(model, features[1], kind, region)
    want = {
        name.removeprefix(f'{kind}_{region}roi_'): value
        for name, value in want.items()
        if name.startswith(f'{kind}_{region}roi_')
    }
    low_res = reference.sampled(said.low_res_logits, 1, 1, 8, 8)
    differences = dict(
        low_res_logits=difference(low_res, want['low_res_logits']),
        head_logits=difference(said.head_logits, want['head_logits']),
        clip_logits=difference(said.clip_logits, want['clip_logits']),
        fused_logits=difference(said.fused_logits, want['fused_logits']),
    )
    area = instances.masks.flatten(1).sum(1)
    print(kind, region, differences, (area - want['mask_area']).tolist())
    assert max(differences.values()) < TOLERANCE
    assert instances.labels.tolist() == want['labels'].tolist()
    assert ((area - want['mask_area']).abs() <= 0.001 * want['mask_area']).all()


def test_fusion_without_a_split_equals_the_released_one(model, features, want):
    model.set_vocabulary(text_classifier(None))
    said, _ = answer(model, features[1], 'box', 'prompt')
    largest = difference(said.fused_logits, want['box_promptroi_nosplit_fused_logits'])
    print('nosplit', largest)
    assert largest < TOLERANCE


def answer(model, features, kind, region):
    """What the network says of the prompts, and the instances made of it.

    The released code takes CLIP's region from the annotated box, whatever the prompt is.
    """
    if kind == 'box':
        given = dict(bboxes=reference.BOXES)
    else:
        given = dict(point_coords=reference.POINTS, point_labels=torch.ones(5, 1))
    prompts = Prompts(**given, annotated_bboxes=reference.BOXES)
    head_region = 'annotated' if region == 'prompt' else 'mask'
    model.test_cfg.update(head_region=head_region, clip_region='annotated')
    said = model.recognize(features, prompts)
    original = prompts.scaled((1 / 1.6, 1 / 1.6))
    instances = model.predict_prompts(features, original, META)
    return said, instances
