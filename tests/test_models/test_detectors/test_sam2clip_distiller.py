"""Stage one: the adapter learns SAM's embedding."""

import pytest
import tiny
import tiny_dump
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.dataset import pseudo_collate


def test_loss_is_the_mean_squared_difference_of_the_embeddings(build):
    model = build('distiller')
    inputs = torch.randn(2, 3, 96, 96)
    difference = model(inputs) - model.teacher(inputs)
    assert model(inputs).shape == (2, 32, 6, 6)
    loss = model(inputs, mode='loss')['loss_distill']
    assert torch.allclose(loss, difference.square().mean())


def test_teacher_does_not_train_and_gives_the_neck_its_positions_where_they_fit(build):
    model = build('distiller', teacher=dict(frozen=False)).train()
    assert not model.teacher.training
    assert not any(p.requires_grad for p in model.teacher.parameters())
    model.init_weights()
    assert model.teacher.pos_embed.any()
    assert torch.equal(model.neck.pos_embed, model.teacher.pos_embed)
    model = build('distiller', teacher=dict(embed_dim=16))
    model.init_weights()
    assert not model.neck.pos_embed.any()


def test_padding_can_be_left_out_of_the_loss(build, make):
    model = build('distiller', ignore_padding=True)
    wide, tall = (make.sample(ori_shape=shape, training=True) for shape in ((40, 80), (80, 42)))
    data = model.data_preprocessor(make.batch(wide, tall), True)
    assert [sample.img_shape for sample in data['data_samples']] == [(48, 96), (96, 50)]
    squares = (model(data['inputs']) - model.teacher(data['inputs'])).square()
    inside = torch.stack([squares[0, :, :3].mean(), squares[1, :, :, :4].mean()])
    found = model(**data, mode='loss')['loss_distill']
    assert torch.allclose(found, inside.mean())
    assert not torch.allclose(found, squares.mean())


@pytest.fixture(scope='module')
def dumped(tmp_path_factory):
    """A folder with images, a teacher, and stores of its features."""
    folder = tmp_path_factory.mktemp('dumped')
    cfg = tiny_dump.config(folder, count=4)
    for dtype in ('float32', 'int8'):
        tiny_dump.dump(cfg, folder / dtype, dtype)
    tiny_dump.write_teacher(folder / 'other.pth', seed=1)
    return folder


@pytest.fixture
def distiller(dumped):
    """`distiller(features='float32', ...)`: ready to train; without features its teacher lives."""

    def build_distiller(features=None, teacher='sam.pth', **changes):
        if features:
            changes['features'] = str(dumped / features)
        torch.manual_seed(0)
        model = MODELS.build(tiny_dump.model(dumped / teacher, **changes))
        model.init_weights()
        return model.train()

    return build_distiller


@pytest.fixture
def batch(dumped):
    """`batch(features='float32')`: four images, with their features or without."""

    def load(features=None):
        config = tiny_dump.images(dumped / 'images')
        if features:
            folder = str(dumped / features)
            config = dict(type='TeacherFeatureDataset', dataset=config, features=folder)
        dataset = DATASETS.build(config)
        return pseudo_collate([dataset[i] for i in range(4)])

    return load


def loss_of(model, data):
    data = model.data_preprocessor(data, True)
    return model(**data, mode='loss')['loss_distill']


@pytest.mark.parametrize(
    'features, tolerance, ignore_padding', [('float32', 1e-6, True), ('int8', 0.01, False)]
)
def test_stored_features_give_the_loss_of_the_live_teacher(
    distiller, batch, features, tolerance, ignore_padding
):
    live = distiller(ignore_padding=ignore_padding)
    stored = distiller(features, ignore_padding=ignore_padding)
    assert stored.teacher is None
    assert torch.equal(stored.neck.pos_embed, live.neck.pos_embed)
    states = (model.neck.state_dict().values() for model in (stored, live))
    assert all(map(torch.equal, *states))  # the same student in spite of the other start
    losses = [loss_of(live, batch()), loss_of(stored, batch(features))]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=tolerance)
    gradients = []
    for model, loss in zip((live, stored), losses):
        loss.backward()
        parts = [p.grad.flatten() for p in model.neck.parameters() if p.grad is not None]
        gradients.append(torch.cat(parts))
    assert (gradients[1] - gradients[0]).norm() <= 10 * tolerance * gradients[0].norm()


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(teacher='other.pth'), "fingerprint of the teacher's weights"),
        (
            dict(data_preprocessor=dict(image_size=64), neck=dict(image_size=64)),
            'side of the network.*96, not 64',
        ),
        (dict(data_preprocessor=dict(bgr_to_rgb=False)), 'pixel'),
    ],
)
def test_features_of_others_are_refused_at_the_start(distiller, changes, message):
    with pytest.raises(ValueError, match=message):
        distiller('float32', **changes)


def test_features_that_do_not_come_with_the_batch_are_asked_for(distiller, batch):
    model = distiller('float32')
    with pytest.raises(ValueError, match='Image 1 .*TeacherFeatureDataset'):
        loss_of(model, batch())
    data = batch('float32')
    data['data_samples'][2].set_metainfo(dict(teacher='another'))
    with pytest.raises(ValueError, match='image 3 is of another teacher'):
        loss_of(model, data)


def test_a_teacher_is_needed_where_there_are_no_features_and_nothing_is_predicted(dumped):
    model = MODELS.build(dict(tiny.DISTILLER, teacher=None, features=str(dumped / 'float32')))
    model.init_weights()
    assert model.neck.pos_embed.any()
    with pytest.raises(ValueError, match='needs a teacher'):
        MODELS.build(dict(tiny.DISTILLER, teacher=None))
    with pytest.raises(ValueError, match="not 'predict'"):
        model(torch.randn(1, 3, 96, 96), mode='predict')
