"""An image's features in a file, and files that are none of this model."""

import numpy as np
import pytest
import tiny
import tiny_photo
import torch
from mmdet.registry import MODELS
from safetensors import safe_open
from small_predictor import BOX, build, same

from mmovsam.apis import OVSAMPredictor
from mmovsam.checkpoints import save_safetensors


@pytest.fixture
def file(predictor, tmp_path):
    predictor.save_features(tmp_path / 'picture.safetensors')
    return tmp_path / 'picture.safetensors'


def photo_model():
    return tiny_photo.build(**tiny_photo.WINDOWS, region_namer=tiny_photo.NAMER)


@pytest.mark.parametrize('build_model', [build, lambda: MODELS.build(tiny.SAM), photo_model])
def test_restored_features_answer_as_the_image_does(build_model, picture, tmp_path, monkeypatch):
    predictor, path = OVSAMPredictor(build_model()), str(tmp_path / 'two.safetensors')
    predictor.set_image_batch([picture, picture[:33, ::-1]])
    expected = [predictor.predict(box=[3, 4, 50, 30], image_index=i) for i in range(2)]
    predictor.save_features(path)
    torch.manual_seed(0)
    model = build_model()  # the same weights in another process
    model.load_state_dict(predictor.model.state_dict())
    monkeypatch.setattr(model, 'extract_feat', None)
    restored = OVSAMPredictor(model)
    restored.load_features(path)
    for i in range(2):
        assert same(restored.predict(box=[3, 4, 50, 30], image_index=i), expected[i])


def changed_weight():
    model = build()
    model.backbone.visual.conv1.weight.data[0, 0, 0, 0] += 1e-6
    return model


@pytest.mark.parametrize(
    'other',
    [
        changed_weight,
        lambda: build(data_preprocessor=dict(mean=(1.0, 2.0, 3.0))),
        lambda: build(neck=dict(num_heads=4, window_size=5)),
    ],
)
def test_features_of_another_model_are_refused(file, other):
    predictor = OVSAMPredictor(other())
    predictor.set_image(np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(ValueError, match='picture.safetensors holds the features of another mod'):
        predictor.load_features(file)
    assert not predictor.is_image_set


def test_vocabulary_and_decoder_may_differ(predictor, file):
    other = build(head=dict(mask_decoder=dict(num_masks=4)), neck=dict(frozen=False))
    for part in ('backbone', 'neck', 'region_neck'):
        getattr(other, part).load_state_dict(getattr(predictor.model, part).state_dict())
    other = OVSAMPredictor(other)
    other.load_features(file)
    assert len(other.predict(box=BOX).masks) == 3


def test_damaged_and_foreign_files_are_refused(predictor, file, tmp_path):
    with pytest.raises(ValueError, match='not .*features.pth'):
        predictor.save_features(file.with_name('features.pth'))
    content = bytearray(file.read_bytes())
    flipped = content.copy()
    flipped[-9] ^= 1
    for data, problem in [
        (content[:-200], 'is no readable checkpoint'),
        (content[:40], 'is no readable checkpoint'),
        (b'', 'is empty'),
        (b'no features at all', 'holds text, not tensors'),
        (flipped, 'is damaged'),
    ]:
        file.write_bytes(data)
        with pytest.raises(ValueError, match=f'picture.safetensors {problem}'):
            predictor.load_features(file)
    file.write_bytes(content)
    with safe_open(file, 'pt') as whole:
        tensors = {key: whole.get_tensor(key) for key in whole.keys()}
        about = whole.metadata()
    no_scale = dict(about, images=about['images'].replace('scale_factor', 'scale'))
    save_safetensors(tensors, tmp_path / 'no_scale.safetensors', no_scale)
    save_safetensors({'a': torch.ones(2)}, tmp_path / 'weights.safetensors')
    torch.save({'a': torch.ones(2)}, tmp_path / 'pickle.pth')
    for name, error, message in [
        ('no_scale.safetensors', ValueError, "no_scale.safetensors is damaged .'scale_factor'"),
        ('weights.safetensors', ValueError, 'holds no mmovsam image features.*save_features'),
        ('pickle.pth', ValueError, 'pickle.pth is none'),
        ('none.safetensors', FileNotFoundError, 'none.safetensors.*save_features'),
    ]:
        with pytest.raises(error, match=message):
            predictor.load_features(tmp_path / name)
    assert not predictor.is_image_set


def test_a_disk_that_is_full_leaves_the_earlier_file(predictor, file, monkeypatch):
    content = file.read_bytes()

    def fail(tensors, path, metadata):
        with open(path, 'wb') as half:
            half.write(b'half')
        raise OSError('the disk is full')

    monkeypatch.setattr('safetensors.torch.save_file', fail)
    with pytest.raises(OSError, match='full'):
        predictor.save_features(file)
    assert file.read_bytes() == content and list(file.parent.iterdir()) == [file]
