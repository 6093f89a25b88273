"""The classification loss: exact, sampled, and of images whose labels are known in part."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mmovsam.models.heads import OpenVocabClassifier
from mmovsam.models.losses import ImageLabels, VocabularyLoss
from mmovsam.vocabulary import TextClassifier

WIDTH = 8


def classifier(num=30, novel=None, seed=0, **settings):
    random = torch.Generator().manual_seed(seed)
    counts = tuple(torch.randint(1, 5, (num,), generator=random).tolist())
    text = torch.randn(sum(counts), WIDTH, generator=random)
    built = OpenVocabClassifier(logit_scale=5.0, **settings)
    built.set_classifier(TextClassifier(text, novel=novel, counts=counts))
    return built


def mean(regions):
    return regions.values.sum() / regions.weights.sum()


def pictured(num, seed=1):
    """Embeddings of regions: of fewer the first ones."""
    return torch.randn(64, WIDTH, generator=torch.Generator().manual_seed(seed))[:num].clone()


def run(loss, named, labels, images=None, seed=1):
    """The loss, its gradient, and whether each region was named right."""
    embeddings = pictured(len(labels), seed).requires_grad_()
    images = images or [ImageLabels(len(labels))]
    regions = loss(named, embeddings, torch.tensor(labels), images)
    mean(regions).backward()
    return mean(regions).detach(), embeddings.grad, regions.correct


def test_exact_loss_weighs_the_background_and_normalizes_by_the_weights():
    named, labels = classifier(4), [1, 4, -1, 4]
    got, _, _ = run(VocabularyLoss(), named, labels)
    x = pictured(4)
    log = named.logits(x).log_softmax(-1)
    want = 2 * -(log[0, 1] + 0.1 * log[1, 4] + 0.1 * log[3, 4]) / 1.2
    torch.testing.assert_close(got, want)


@given(
    seed=st.integers(0, 2**31),
    correction=st.booleans(),
    federated=st.booleans(),
    split=st.booleans(),
    train_novel=st.booleans(),
)
def test_sampled_loss_of_all_classes_is_the_exact_one_with_its_gradient(
    seed, correction, federated, split, train_novel
):
    random = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, 4, (30,), generator=random).tolist()
    novel = tuple((False, False, True, None)[kind] for kind in kinds) if split else None
    named = classifier(30, novel, seed, train_novel=train_novel)
    labels = torch.randint(-1, 31, (9,), generator=random).tolist()
    images = [ImageLabels(4, verified=(0, 3, 5, labels[0] % 30)), ImageLabels(3, (2, 9, 11)),
              ImageLabels(2)]  # fmt: skip
    labels[4:7] = [2, 9, 11]
    settings = dict(correction=correction, federated=federated)
    loss = VocabularyLoss(num_negatives=30, **settings)
    loss.set_frequencies(torch.rand(30, generator=random))
    sampled = run(loss, named, labels, images)
    exact = run(VocabularyLoss(**settings), named, labels, images)
    for got, want in zip(sampled, exact):
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5, equal_nan=True)


@given(
    counts=st.lists(st.integers(1, 7), min_size=2, max_size=20),
    seed=st.integers(0, 2**31),
)
def test_logits_of_some_classes_are_those_of_all_with_their_gradient(counts, seed):
    random = torch.Generator().manual_seed(seed)
    named = OpenVocabClassifier()
    text = torch.randn(sum(counts), WIDTH, generator=random)
    named.set_classifier(TextClassifier(text, counts=tuple(counts)))
    chosen = torch.randperm(len(counts), generator=random)[: 1 + len(counts) // 2]
    x = torch.randn(5, WIDTH, generator=random).requires_grad_()
    some = named.logits_of(x, chosen)
    all_of_them = named.logits(x)[:, [*chosen.tolist(), len(counts)]]
    torch.testing.assert_close(some, all_of_them, atol=1e-4, rtol=1e-5)
    factors = torch.randn(some.shape, generator=random)
    gradients = [torch.autograd.grad((y * factors).sum(), x)[0] for y in (some, all_of_them)]
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-4)


def test_sum_over_drawn_classes_is_right_on_average():
    named, labels = classifier(200), [5, 17]
    x = torch.randn(2, WIDTH)
    loss = VocabularyLoss(loss_weight=1.0, num_negatives=20)
    loss.set_frequencies(torch.arange(200) + 1.0)
    own = named.logits(x)[range(2), labels]
    exact = named.logits(x).exp().sum(1)
    found = []
    for _ in range(1500):
        regions = loss(named, x, torch.tensor(labels), [ImageLabels(2)])
        found.append((regions.values + own).exp())
    found = torch.stack(found)
    error = found.std(0) / len(found) ** 0.5
    print(exact, found.mean(0), error)
    assert ((found.mean(0) - exact).abs() < 4 * error).all()
    assert (error < 0.05 * exact).all()


def test_without_correction_the_sampled_loss_is_that_of_a_smaller_vocabulary():
    named, labels = classifier(200), [5, 17]
    x = torch.randn(2, WIDTH)
    torch.manual_seed(3)
    loss = VocabularyLoss(loss_weight=1.0, num_negatives=20, correction=False)
    regions = loss(named, x, torch.tensor(labels), [ImageLabels(2)])
    torch.manual_seed(3)
    classes, _ = loss.sampler.draw({5, 17})
    logits = F.pad(named.logits(x)[:, classes], (0, 1))
    want = F.cross_entropy(logits, torch.searchsorted(classes, torch.tensor(labels)),
                           reduction='none')  # fmt: skip
    torch.testing.assert_close(regions.values, want)


@pytest.mark.parametrize('num_negatives', [None, 3])
def test_an_images_other_labels_are_nothing_to_tell_a_region_from(num_negatives):
    named, labels = classifier(), [2, 9, 11]
    together = run(VocabularyLoss(num_negatives=num_negatives), named, labels,
                   [ImageLabels(3, (2, 9, 11))])  # fmt: skip
    if num_negatives is None:
        x = pictured(3)
        logits = named.logits(x)
        for row, own in enumerate(labels):
            logits[row, [label for label in labels if label != own]] = -torch.inf
        want = 2 * F.cross_entropy(logits, torch.tensor(labels))
        torch.testing.assert_close(together[0], want)
    assert together[1].isfinite().all()


def test_federated_loss_compares_with_verified_classes_of_the_image_only():
    named, labels = classifier(), [2, 9, 4]
    about = dict(neg_labels=[7, 8], not_exhaustive_labels=[9, 8])
    images = [ImageLabels.of(2, about, [2, 9, 12]), ImageLabels.of(1, {}, [4])]
    assert images[0].verified == (2, 7, 12) and images[1].verified is None
    x = pictured(3)
    logits = named.logits(x)
    federated = torch.full_like(logits, -torch.inf)
    for row, classes in enumerate(((2, 7, 12, 30), (2, 7, 9, 12, 30), range(31))):
        federated[row, list(classes)] = logits[row, list(classes)]
    for settings, want in ((dict(federated=True), federated), ({}, logits)):
        got, _, _ = run(VocabularyLoss(**settings), named, labels, images)
        torch.testing.assert_close(got, 2 * F.cross_entropy(want, torch.tensor(labels)))
    # what is verified is among the classes of a sampled step
    sampled, _, _ = run(
        VocabularyLoss(federated=True, num_negatives=1), named, labels[:2], images[:1]
    )
    want = 2 * F.cross_entropy(federated[:2], torch.tensor(labels[:2]))
    torch.testing.assert_close(sampled, want, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('num_negatives', [None, 40])
def test_by_source_a_region_is_compared_with_classes_of_its_own_data_only(num_negatives):
    named, labels = classifier(), [2, 9, 4]
    images = [ImageLabels.of(1, dict(source=source), []) for source in ('a', 'b', None)]
    own = torch.zeros(30, dtype=torch.bool)
    own[[2, 7, 11]] = True
    x = pictured(3)
    want = named.logits(x)
    want[0, [i for i in range(30) if not own[i]]] = -torch.inf
    for by_source, expected in ((True, want), (False, named.logits(x))):
        loss = VocabularyLoss(by_source=by_source, num_negatives=num_negatives)
        loss.set_source_classes(dict(a=own, b=torch.ones(30, dtype=torch.bool)))
        got, _, _ = run(loss, named, labels, images)
        expected = 2 * F.cross_entropy(expected, torch.tensor(labels))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('num_negatives', [None, 2])
@pytest.mark.parametrize('labels', [[-1, -1], [], [2, 2]])
def test_no_label_that_counts_gives_no_loss_and_finite_gradients(labels, num_negatives):
    named = classifier(4, (False, False, True, None))
    embeddings = torch.randn(len(labels), WIDTH, requires_grad=True)
    loss = VocabularyLoss(num_negatives=num_negatives)
    labels = torch.tensor(labels, dtype=torch.long)
    regions = loss(named, embeddings, labels, [ImageLabels(len(labels))])
    regions.values.sum().backward()
    assert regions.values.sum() == 0 and regions.weights.sum() == 0
    assert (embeddings.grad == 0).all()


@pytest.mark.parametrize('train_novel, trained', [(False, [0, 1, 4]), (True, [0, 1, 2, 4])])
@pytest.mark.parametrize('num_negatives', [None, 1, 4])
def test_training_sees_base_classes_and_novel_ones_where_it_is_told_to(
    num_negatives, train_novel, trained
):
    named = classifier(4, (False, False, True, None), train_novel=train_novel)
    labels = torch.tensor([0, 1, 2, 3, 4, -1])
    loss = VocabularyLoss(num_negatives=num_negatives)
    regions = loss(named, torch.randn(6, WIDTH), labels, [ImageLabels(6)])
    assert regions.weights.nonzero()[:, 0].tolist() == trained


@pytest.mark.parametrize('num_negatives', [None, 1, 4])
def test_classes_that_never_occur_in_training_are_not_pushed_away(num_negatives):
    named = classifier(4)
    loss = VocabularyLoss(loss_weight=1.0, num_negatives=num_negatives)
    loss.set_frequencies(torch.tensor([0.5, 0, 2, 0]))
    x = pictured(3)
    regions = loss(named, x, torch.tensor([0, 2, 1]), [ImageLabels(3)])
    want = F.cross_entropy(named.logits(x)[:2, [0, 2, 4]], torch.tensor([0, 1]), reduction='none')
    torch.testing.assert_close(regions.values[:2], want, atol=1e-4, rtol=1e-4)
    assert regions.weights.tolist() == [1, 1, 0]


def test_accuracy_is_that_of_the_most_similar_name():
    named = classifier(30)
    x = pictured(20)
    best = named.logits(x).argmax(1)
    labels = best.clone()
    labels[:5] = (labels[:5] + 1) % 30
    _, _, correct = run(VocabularyLoss(), named, labels.tolist())
    assert correct.tolist() == [False] * 5 + [True] * 15


def test_another_vocabulary_is_drawn_from_after_it_was_set():
    named = classifier(30)
    loss = VocabularyLoss(num_negatives=10)
    loss(named, torch.randn(1, WIDTH), torch.tensor([3]), [ImageLabels(1)])
    named.set_classifier(TextClassifier(torch.randn(12, 1, WIDTH)))
    loss(named, torch.randn(1, WIDTH), torch.tensor([3]), [ImageLabels(1)])
    assert len(loss.sampler.classes) == 12
    loss.set_frequencies(torch.ones(30))
    with pytest.raises(ValueError, match='30 classes were set and the vocabulary has 12'):
        loss(named, torch.randn(1, WIDTH), torch.tensor([3]), [ImageLabels(1)])


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(num_negatives=0), 'num_negatives must be at least 1'),
        (dict(frequency_power=2), 'frequency_power must lie between 0'),
    ],
)
def test_numbers_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        VocabularyLoss(**settings)
