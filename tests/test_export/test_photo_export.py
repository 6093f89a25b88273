"""Export of a model with fine maps, a decoder of windows and a namer of regions."""

import pytest
import tiny
import tiny_photo
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmovsam.export import Comparison, ONNXModel, export_onnx
from mmovsam.export.checking import compare_prompts, random_prompts

pytestmark = pytest.mark.slow  # the model of `exported` has fewer parts
SIZE = tiny_photo.SIZE
VOCABULARY = tiny.vocabulary(width=tiny_photo.EMBED_DIM)


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    """A model and what became of it in onnxruntime."""
    model = tiny_photo.build(**tiny_photo.WINDOWS, region_namer=tiny_photo.NAMER)
    with torch.no_grad():
        torch.nn.init.normal_(model.region_namer.lin2.weight, std=0.1)
        model.window_decoder.mask.weight.mul_(20)
    folder = tmp_path_factory.mktemp('photo')
    comparison = export_onnx(model, folder, VOCABULARY)
    return model, ONNXModel(folder, num_threads=1), comparison


def test_export_equals_pytorch(photo):
    _, exported, comparison = photo
    comparison.require(1e-3)
    fine = [name for name in exported.settings['encoder']['outputs'] if 'high_res' in name]
    assert len(fine) == 3 and set(fine) < set(comparison.differences)


@settings(max_examples=15)
@given(
    num=st.integers(1, 6),
    num_points=st.integers(0, 3),
    boxed=st.booleans(),
    img_shape=st.tuples(st.integers(30, SIZE), st.integers(30, SIZE)),
    seed=st.integers(0, 2**31),
)
def test_any_prompts_equal_pytorch(photo, num, num_points, boxed, img_shape, seed):
    model, exported, _ = photo
    random = torch.Generator().manual_seed(seed)
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = model.extract_feat(image)
    prompts = random_prompts(num, num_points, boxed or not num_points, img_shape, random)
    if num_points:
        prompts.point_labels[:, 0] = 1  # of points without any on the object nothing is asked
    comparison = Comparison()
    encoded = exported.encode(image.numpy())
    compare_prompts(comparison, model, exported, features, encoded, prompts, img_shape, VOCABULARY)
    assert max(comparison.differences.values()) < 1e-3, comparison
    assert comparison.borderline <= 1, comparison
