"""Export of a model with fine maps, a decoder of windows and a namer of regions."""

from types import SimpleNamespace

import pytest
import tiny
import tiny_photo
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmovsam.export import Comparison, ONNXModel, export_onnx
from mmovsam.export.checking import compare, compare_prompts, random_prompts
from mmovsam.export.graphs import DecoderGraph, EncoderGraph

SIZE = tiny_photo.SIZE
VOCABULARY = tiny.vocabulary(width=tiny_photo.EMBED_DIM)


class EagerModel(ONNXModel):
    """The graphs of an export, run by PyTorch as they are."""

    def __init__(self, model):
        self.vocabulary, self.settings = None, {}
        encoder = EncoderGraph(model).eval()
        decoder = DecoderGraph(model, encoder.outputs).eval()
        count = len(encoder.outputs)
        for name, graph in dict(encoder=encoder, decoder=decoder).items():
            self.settings[name] = dict(outputs=graph.outputs)

        @torch.no_grad()
        def encode(_, inputs):
            return [each.numpy() for each in encoder(torch.from_numpy(inputs['image']))]

        @torch.no_grad()
        def decode(_, inputs):
            parts = [torch.from_numpy(inputs[name]) for name in decoder.inputs]
            return [each.numpy() for each in decoder(tuple(parts[:count]), *parts[count:])]

        self.encoder, self.decoder = SimpleNamespace(run=encode), SimpleNamespace(run=decode)


def build():
    """A model whose logits are on both sides of all thresholds."""
    model = tiny_photo.build(
        **tiny_photo.WINDOWS, **tiny_photo.CROPS, region_namer=tiny_photo.NAMER
    )
    with torch.no_grad():
        torch.nn.init.normal_(model.region_namer.lin2.weight, std=0.1)
        for decoder in (model.window_decoder, model.crop_decoder):
            decoder.mask.weight.mul_(20)
    return model


def test_graph_decodes_windows_as_the_model_does():
    model = build()
    found = compare(model, EagerModel(model)).differences
    found.pop('probabilities')  # which need ONNX's own RoIAlign
    assert len(found) > 5 and max(found.values()) < 1e-3


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
    """A model and what became of it in onnxruntime."""
    model, folder = build(), tmp_path_factory.mktemp('photo')
    comparison = export_onnx(model, folder, VOCABULARY)
    return model, ONNXModel(folder, num_threads=1), comparison


@pytest.mark.slow
def test_export_equals_pytorch(photo):
    _, exported, comparison = photo
    comparison.require(1e-3)
    fine = [name for name in exported.settings['encoder']['outputs'] if 'high_res' in name]
    assert len(fine) == 3 and set(fine) < set(comparison.differences)


@pytest.mark.slow
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
