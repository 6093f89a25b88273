"""What the exported files say in onnxruntime, against PyTorch."""

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.registry import MODELS
from other_device import other_device

from mmovsam.checkpoints import names_all_weights
from mmovsam.export import Comparison, ONNXModel
from mmovsam.export.checking import compare_prompts, random_prompts
from mmovsam.prompts import Prompts
from mmovsam.vocabulary import TextClassifier

SIZE = tiny.SIZE


@pytest.fixture(scope='module')
def encoded(exported):
    """An image as both sides encode it."""
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return exported.model.extract_feat(image), exported.onnx.encode(image.numpy())


def random_names(counts, split, random):
    embeddings = torch.randn(sum(counts), tiny.WIDTH, generator=random)
    novel = None
    if split:
        kinds = torch.randint(3, (len(counts),), generator=random).tolist()
        novel = tuple((True, False, None)[kind] for kind in kinds)
    return TextClassifier(embeddings, novel=novel, counts=tuple(counts))


def test_export_checked_itself_against_pytorch(exported):
    exported.comparison.require(1e-4)
    assert exported.comparison.prompts > 40
    outputs = {*exported.onnx.settings['encoder']['outputs'], 'low_res_logits', 'scores'}
    assert set(exported.comparison.differences) == outputs | {'probabilities'}


@settings(max_examples=25)
@given(
    num=st.integers(1, 9),
    num_points=st.integers(0, 4),
    boxed=st.booleans(),
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=9),
    split=st.booleans(),
    img_shape=st.tuples(st.integers(1, SIZE), st.integers(1, SIZE)),
    seed=st.integers(0, 2**31),
)
def test_any_number_of_prompts_points_and_names_equals_pytorch(
    exported, encoded, num, num_points, boxed, counts, split, img_shape, seed
):
    random = torch.Generator().manual_seed(seed)
    prompts = random_prompts(num, num_points, boxed or not num_points, img_shape, random)
    names = random_names(counts, split, random)
    comparison = Comparison()
    compare_prompts(comparison, exported.model, exported.onnx, *encoded, prompts, img_shape, names)
    assert max(comparison.differences.values()) < 1e-4, comparison
    assert comparison.borderline <= 1, comparison


def test_prompts_of_many_kinds_none_and_masks(exported, encoded):
    nan = float('nan')
    prompts = Prompts(
        bboxes=[[nan] * 4, [5, 6, 50, 40], [nan] * 4, [1, 2, 90, 80]],
        point_coords=[[[9, 9], [30, 20]], [[0, 0], [0, 0]], [[40, 41], [0, 0]], [[8, 8], [0, 0]]],
        point_labels=[[1, 0], [-1, -1], [1, -1], [0, -1]],
    )
    logits, scores, probabilities = exported.onnx.decode(encoded[1], prompts, (SIZE, SIZE))
    expected = exported.model.recognize(encoded[0], prompts)
    np.testing.assert_allclose(logits, expected.low_res_logits, rtol=0, atol=1e-4)
    expected = exported.model.classifier.probabilities(expected.fused_logits)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-4)
    assert scores.shape == (4,)
    boxes = Prompts(bboxes=[[5, 6, 50, 40], [0, 0, 90, 90]])
    whole, without_padding = (
        exported.onnx.decode(encoded[1], boxes, shape)[1]
        for shape in ((SIZE, SIZE), (SIZE // 2, SIZE))
    )
    assert (whole > 0).all() and not np.isclose(whole, without_padding).any()
    none = exported.onnx.decode(encoded[1], Prompts.empty(), (SIZE, SIZE))
    assert [len(part) for part in none] == [0, 0, 0]
    masks = Prompts(mask_input=torch.zeros(1, 1, SIZE // 4, SIZE // 4))
    with pytest.raises(ValueError, match='no mask_input'):
        exported.onnx.decode(encoded[1], masks, (SIZE, SIZE))


def test_weights_of_eight_bits_say_nearly_the_same_in_smaller_files(exported, encoded):
    small = ONNXModel(exported.folder, 'int8', num_threads=1)
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    features = small.encode(image.numpy())
    for name, expected in encoded[1].items():
        error = np.abs(features[name] - expected).mean() / np.abs(expected).mean()
        assert 0 < error < 0.1, name
    prompts = Prompts(bboxes=[[5, 6, 50, 40], [0, 0, 90, 90]])
    logits = small.decode(features, prompts, (SIZE, SIZE))[0]
    expected = exported.onnx.decode(encoded[1], prompts, (SIZE, SIZE))[0]
    assert np.corrcoef(logits.ravel(), expected.ravel())[0, 1] > 0.98
    sizes = [(exported.folder / f'encoder{end}.onnx').stat().st_size for end in ('', '_int8')]
    assert sizes[1] < 0.6 * sizes[0]


def test_detector_on_an_export_predicts_what_its_model_does(exported):
    detector = MODELS.build(
        dict(
            type='ONNXOVSAM',
            init_cfg=dict(type='Pretrained', checkpoint=str(exported.folder / 'model.json')),
            prompter=dict(type='GTPrompter'),
            data_preprocessor=tiny.PREPROCESSOR,
        )
    ).eval()
    assert names_all_weights(dict(type='ONNXOVSAM', init_cfg=detector.init_cfg))
    results = []
    for model in (detector, exported.model):
        model.set_vocabulary(tiny.vocabulary())
        data = model.data_preprocessor(tiny.batch(tiny.sample(3), tiny.sample(2, seed=1)), False)
        with torch.no_grad():
            results.append(model.predict(data['inputs'], data['data_samples']))
    assert detector.dataset_meta['classes'] == tiny.NAMES
    for got, expected in zip(*([sample.pred_instances for sample in part] for part in results)):
        assert got.labels.tolist() == expected.labels.tolist()
        torch.testing.assert_close(got.topk_scores, expected.topk_scores, rtol=0, atol=1e-4)
        assert (got.masks != expected.masks).float().mean() < 1e-3
    with pytest.raises(ValueError, match='cannot be trained'):
        detector.loss(data['inputs'], data['data_samples'])
    detector.to('meta')  # as a GPU beside onnxruntime on the CPU
    meta = dict(img_shape=(72, 96), ori_shape=(60, 80), scale_factor=(1.2, 1.2))
    with other_device(), torch.no_grad():
        features = detector.extract_feat(torch.zeros(1, 3, SIZE, SIZE, device='meta'))
        prompts = Prompts(bboxes=[[4.0, 4, 30, 30]])
        found = detector.predict_prompts(features.image(0), prompts, meta)
    assert found.masks.shape == (1, 60, 80) and found.labels.shape == (1,)
