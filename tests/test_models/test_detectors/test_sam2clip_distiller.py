"""Stage one: the adapter learns SAM's embedding."""

import pytest
import tiny
import tiny_dump
import torch
from mmdet.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner


def test_loss_is_the_mean_squared_difference_of_the_embeddings(build):
    model = build('distiller')
    inputs = torch.randn(2, 3, 96, 96)
    difference = model(inputs) - model.teacher(inputs)
    assert model(inputs).shape == (2, 32, 6, 6)
    loss = model(inputs, mode='loss')['loss_distill']
    assert torch.allclose(loss, difference.square().mean())


def test_neck_starts_with_the_teachers_position_embedding(build):
    model = build('distiller')
    model.init_weights()
    assert model.teacher.pos_embed.any()
    assert torch.equal(model.neck.pos_embed, model.teacher.pos_embed)


def test_a_teacher_of_another_width_leaves_the_position_alone(build):
    model = build('distiller', teacher=dict(embed_dim=16))
    model.init_weights()
    assert not model.neck.pos_embed.any()


def test_teacher_never_trains_whatever_its_config_says(build):
    model = build('distiller', teacher=dict(frozen=False)).train()
    assert not model.teacher.training
    assert not any(p.requires_grad for p in model.teacher.parameters())


def test_unknown_mode_is_refused(build):
    with pytest.raises(ValueError, match="not 'predict'"):
        build('distiller')(torch.randn(1, 3, 96, 96), mode='predict')


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


def test_without_padding_both_losses_are_one(build, make):
    picture, sample = make.sample(ori_shape=(80, 80), training=True)
    losses = []
    for ignore_padding in (False, True):
        model = build('distiller', ignore_padding=ignore_padding)
        data = model.data_preprocessor(make.batch((picture, sample)), True)
        losses.append(model(**data, mode='loss')['loss_distill'])
    assert torch.allclose(*losses)


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


@pytest.mark.parametrize('ignore_padding', [False, True])
@pytest.mark.parametrize('features, tolerance', [('float32', 1e-6), ('int8', 0.01)])
def test_stored_features_give_the_loss_of_the_live_teacher(
    distiller, batch, features, tolerance, ignore_padding
):
    live = distiller(ignore_padding=ignore_padding)
    stored = distiller(features, ignore_padding=ignore_padding)
    assert stored.teacher is None
    assert torch.equal(stored.neck.pos_embed, live.neck.pos_embed)
    losses = [loss_of(live, batch()), loss_of(stored, batch(features))]
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=tolerance)
    gradients = []
    for model, loss in zip((live, stored), losses):
        loss.backward()
        parts = [p.grad.flatten() for p in model.neck.parameters() if p.grad is not None]
        gradients.append(torch.cat(parts))
    assert (gradients[1] - gradients[0]).norm() <= 10 * tolerance * gradients[0].norm()


def test_a_training_from_the_store_ends_where_that_with_the_live_teacher_does(dumped, tmp_path):
    weights = []
    for features in (None, 'float32'):
        dataset = tiny_dump.images(dumped / 'images')
        changes = {}
        if features:
            changes['features'] = folder = str(dumped / features)
            dataset = dict(type='TeacherFeatureDataset', dataset=dataset, features=folder)
        cfg = dict(
            model=tiny_dump.model(dumped / 'sam.pth', **changes),
            work_dir=str(tmp_path / str(features)),
            train_dataloader=dict(
                batch_size=2,
                num_workers=1,
                sampler=dict(type='DefaultSampler', shuffle=True),
                dataset=dataset,
            ),
            train_cfg=dict(by_epoch=True, max_epochs=2),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            default_scope='mmdet',
            randomness=dict(seed=0),
            log_level='WARNING',
            experiment_name=f'distiller_{features}',
        )
        runner = Runner.from_cfg(Config(cfg))
        before = torch.cat([p.detach().flatten() for p in runner.model.neck.parameters()])
        runner.train()
        weights.append(torch.cat([p.detach().flatten() for p in runner.model.neck.parameters()]))
        assert not torch.allclose(before, weights[-1])
    assert torch.allclose(*weights, atol=1e-6)


def test_features_of_another_teacher_are_refused_at_the_start(distiller):
    with pytest.raises(ValueError, match="fingerprint of the teacher's weights"):
        distiller('float32', teacher='other.pth')


def test_features_of_another_image_size_are_refused_at_the_start(distiller):
    small = dict(image_size=64)
    with pytest.raises(ValueError, match='side of the network.*96, not 64'):
        distiller('float32', data_preprocessor=small, neck=small)


def test_features_of_other_colors_are_refused_at_the_start(distiller):
    with pytest.raises(ValueError, match='pixel'):
        distiller('float32', data_preprocessor=dict(bgr_to_rgb=False))


def test_the_teacher_itself_is_not_needed(dumped):
    config = dict(tiny.DISTILLER, teacher=None, features=str(dumped / 'float32'))
    model = MODELS.build(config)
    model.init_weights()
    assert model.neck.pos_embed.any()


def test_the_student_starts_as_with_a_live_teacher(distiller):
    live, stored = (distiller(features).neck.state_dict() for features in (None, 'float32'))
    assert all(torch.equal(live[name], stored[name]) for name in live)


def test_comparing_the_teacher_leaves_the_random_state_alone(dumped):
    features = str(dumped / 'float32')
    model = MODELS.build(tiny_dump.model(dumped / 'sam.pth', features=features))
    state = torch.get_rng_state()
    model.init_weights()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_batch_without_features_says_how_to_get_them(distiller, batch):
    with pytest.raises(ValueError, match='Image 1 .*TeacherFeatureDataset'):
        loss_of(distiller('float32'), batch())


def test_a_batch_with_features_of_another_teacher_is_refused(distiller, batch):
    data = batch('float32')
    data['data_samples'][2].set_metainfo(dict(teacher='another'))
    with pytest.raises(ValueError, match='image 3 is of another teacher'):
        loss_of(distiller('float32'), data)


def test_neither_teacher_nor_features_is_refused():
    with pytest.raises(ValueError, match='needs a teacher'):
        MODELS.build(dict(tiny.DISTILLER, teacher=None))
