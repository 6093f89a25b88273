"""OVSAM: its losses."""

import pytest
import torch


def loss(model, make, *samples):
    model.train()
    data = model.data_preprocessor(make.batch(*samples), training=True)
    losses = model(**data, mode='loss')
    return losses, sum(value for key, value in losses.items() if 'loss' in key)


def test_images_without_instances_take_no_part_in_the_loss(build, make):
    model = build(train_cfg=dict(box_ratio=1.0))
    nothing = make.sample(0, training=True, seed=4)
    something = make.sample(2, training=True)
    losses = []
    for samples in ((something,), (nothing, something, nothing)):
        torch.manual_seed(0)
        losses.append(loss(model, make, *samples)[0])
    for key in losses[0]:
        assert torch.allclose(losses[0][key], losses[1][key], atol=1e-5), key


@pytest.mark.parametrize('kind, num', [('ovsam', 0), ('sam', 0), ('ovsam', 2)])
def test_batch_without_instances_or_labels_has_losses_of_zero_with_gradients(
    build, make, kind, num
):
    model = build(kind)
    samples = [make.sample(num, training=True, seed=seed) for seed in range(2)]
    for _, data_sample in samples:
        data_sample.gt_instances.labels[:] = -1
    losses, total = loss(model, make, *samples)
    assert losses.get('loss_cls', 0) == 0
    assert (losses['loss_mask'] > 0) == (total > 0) == (num > 0)
    total.backward()
    trained = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)


def test_masks_of_the_loss_are_in_the_order_of_the_logits(build, make, monkeypatch):
    model = build()
    given = make.sample(6, training=True, seed=7)
    seen = {}

    def remember(low_res_logits, gt_masks, points):
        seen.update(logits=low_res_logits, masks=gt_masks)
        return dict(loss_mask=low_res_logits.sum() * 0)

    monkeypatch.setattr(model.head, 'mask_losses', remember)
    prompts = []
    decode = model.decode_masks
    monkeypatch.setattr(
        model, 'decode_masks', lambda features, p, **_: prompts.append(p) or decode(features, p)
    )
    loss(model, make, given)
    masks = seen['masks'].bool()
    (prompts,) = prompts
    by_point = prompts.num_points > 0
    assert prompts.has_bbox.any() and by_point.any()
    assert masks.shape == (6, 96, 96)
    for i in range(6):
        if by_point[i]:
            x, y = prompts.point_coords[i, 0].int().tolist()
            assert masks[i, y, x]
        else:
            x1, y1, x2, y2 = prompts.bboxes[i].int().tolist()
            assert masks[i].sum() == masks[i, y1:y2, x1:x2].sum() == (y2 - y1) * (x2 - x1)
    data = model.data_preprocessor(make.batch(given))
    features = model.extract_feat(data['inputs'])
    alone = [decode(features, prompts[i])[0] for i in range(6)]
    assert torch.allclose(seen['logits'], torch.cat(alone), atol=1e-4)
