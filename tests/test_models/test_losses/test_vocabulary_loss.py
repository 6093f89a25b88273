"""The classification loss, also of images whose labels are known in part."""

import pytest
import torch
import torch.nn.functional as F

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


def test_an_images_other_labels_are_nothing_to_tell_a_region_from():
    named, labels = classifier(), [2, 9, 11]
    got, _, _ = run(VocabularyLoss(), named, labels, [ImageLabels(3, (2, 9, 11))])
    logits = named.logits(pictured(3))
    for row, own in enumerate(labels):
        logits[row, [label for label in labels if label != own]] = -torch.inf
    torch.testing.assert_close(got, 2 * F.cross_entropy(logits, torch.tensor(labels)))


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


def test_by_source_a_region_is_compared_with_classes_of_its_own_data_only():
    named, labels = classifier(), [2, 9, 4]
    images = [ImageLabels.of(1, dict(source=source), []) for source in ('a', 'b', None)]
    own = torch.zeros(30, dtype=torch.bool)
    own[[2, 7, 11]] = True
    x = pictured(3)
    want = named.logits(x)
    want[0, [i for i in range(30) if not own[i]]] = -torch.inf
    for by_source, expected in ((True, want), (False, named.logits(x))):
        loss = VocabularyLoss(by_source=by_source)
        loss.source_classes = dict(a=own, b=torch.ones(30, dtype=torch.bool))
        got, _, _ = run(loss, named, labels, images)
        expected = 2 * F.cross_entropy(expected, torch.tensor(labels))
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('labels', [[-1, -1], [], [2, 2]])
def test_no_label_that_counts_gives_no_loss_and_finite_gradients(labels):
    named = classifier(4, (False, False, True, None))
    embeddings = torch.randn(len(labels), WIDTH, requires_grad=True)
    loss = VocabularyLoss()
    labels = torch.tensor(labels, dtype=torch.long)
    regions = loss(named, embeddings, labels, [ImageLabels(len(labels))])
    regions.values.sum().backward()
    assert regions.values.sum() == 0 and regions.weights.sum() == 0
    assert (embeddings.grad == 0).all()


@pytest.mark.parametrize('train_novel, trained', [(False, [0, 1, 4]), (True, [0, 1, 2, 4])])
def test_training_sees_base_classes_and_novel_ones_where_it_is_told_to(train_novel, trained):
    named = classifier(4, (False, False, True, None), train_novel=train_novel)
    labels = torch.tensor([0, 1, 2, 3, 4, -1])
    loss = VocabularyLoss()
    regions = loss(named, torch.randn(6, WIDTH), labels, [ImageLabels(6)])
    assert regions.weights.nonzero()[:, 0].tolist() == trained


def test_classes_that_never_occur_in_training_are_not_pushed_away():
    named = classifier(4)
    loss = VocabularyLoss(loss_weight=1.0)
    loss.frequencies = torch.tensor([0.5, 0, 2, 0])
    x = pictured(3)
    regions = loss(named, x, torch.tensor([0, 2, 1]), [ImageLabels(3)])
    want = F.cross_entropy(named.logits(x)[:2, [0, 2, 4]], torch.tensor([0, 1]), reduction='none')
    torch.testing.assert_close(regions.values[:2], want, atol=1e-4, rtol=1e-4)
    assert regions.weights.tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match='4 classes were set and the vocabulary has 12'):
        loss(classifier(12), x, torch.tensor([0, 2, 1]), [ImageLabels(3)])


def test_accuracy_is_that_of_the_most_similar_name():
    named = classifier(30)
    x = pictured(20)
    best = named.logits(x).argmax(1)
    labels = best.clone()
    labels[:5] = (labels[:5] + 1) % 30
    _, _, correct = run(VocabularyLoss(), named, labels.tolist())
    assert correct.tolist() == [False] * 5 + [True] * 15
