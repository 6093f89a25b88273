"""What cannot be exported is told, and leaves an earlier export as it is."""

import json
import shutil
import sys

import pytest
import tiny
import torch

from mmovsam.apis import prepare_for_inference
from mmovsam.export import export_onnx, onnx_files
from mmovsam.export.onnx_files import check_exportable


def with_extractor(kind, **layer):
    """Changes of a model's config."""
    layer = dict(type='RoIAlign', output_size=7, **layer)
    settings = dict(out_channels=tiny.WIDTH, featmap_strides=[4, 8, 16, 32])
    return dict(head=dict(roi_extractor=dict(type=kind, roi_layer=layer, **settings)))


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(test_cfg=dict(clip_region='annotated')), "test_cfg.clip_region is 'annotated'"),
        (dict(data_preprocessor=dict(bgr_to_rgb=False)), 'does not turn BGR to RGB'),
        (dict(data_preprocessor=dict(mean=None, std=None)), 'normalize'),
        (with_extractor('SingleRoIExtractor', aligned=False), 'averaging and aligned'),
        (with_extractor('GenericRoIExtractor'), 'a GenericRoIExtractor'),
    ],
)
def test_settings_that_onnx_cannot_express_are_named(random_model, changes, message):
    with pytest.raises(ValueError, match=message):
        check_exportable(random_model(**changes), tiny.vocabulary())


def test_other_precisions_and_vocabularies_are_refused(random_model):
    model = random_model()
    for classifier, message in (
        (tiny.vocabulary(width=7), 'width 7 and the model 32'),
        (None, 'export it with a vocabulary'),
    ):
        with pytest.raises(ValueError, match=message):
            check_exportable(model, classifier)
    with pytest.raises(ValueError, match='these are torch.bfloat16'):
        check_exportable(random_model().bfloat16(), tiny.vocabulary())
    model = prepare_for_inference(model, torch.bfloat16)
    with pytest.raises(ValueError, match='prepared to encode in torch.bfloat16'):
        check_exportable(model, tiny.vocabulary())


def test_files_that_say_something_else_than_the_model_get_no_place(
    exported, random_model, tmp_path, monkeypatch
):
    settings = json.loads((exported.folder / 'model.json').read_text())

    def write(model, folder):
        for name in ('encoder.onnx', 'decoder.onnx'):
            shutil.copy(exported.folder / name, folder)
        return settings

    monkeypatch.setattr(onnx_files, '_write_graphs', write)
    model = random_model(head=dict(use_label_token=True))
    torch.nn.init.normal_(model.head.mask_decoder.mask_tokens.weight)
    with pytest.raises(ValueError, match='differs from PyTorch by more than 0.0001: low_res_logit'):
        export_onnx(model, tmp_path, tiny.vocabulary())
    assert not list(tmp_path.iterdir())


def test_what_pytorch_cannot_export_leaves_the_earlier_export(
    exported, random_model, tmp_path, monkeypatch
):
    def fail(*args, **kwargs):
        raise torch.onnx.OnnxExporterError('no such operator')

    monkeypatch.setattr(torch.onnx, 'export', fail)
    folder = shutil.copytree(exported.folder, tmp_path / 'copy')
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ValueError, match='cannot express the encoder .*no such operator'):
        export_onnx(random_model(), folder, tiny.vocabulary())
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_missing_packages_are_named(random_model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxscript', None)
    with pytest.raises(ImportError, match=r"pip install 'mmovsam\[export\]'"):
        export_onnx(random_model(), tmp_path, tiny.vocabulary())
