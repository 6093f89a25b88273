"""Whose name an instance gets, and how sure that is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mmengine.structures import InstanceData

from mmovsam.models.detectors.naming import ClassMap, LabelFusion
from mmovsam.prompts import Prompts

NAMES = ('cat', 'dog', 'fox', 'owl')
# Recognition: a fox, or else an owl; a dog; an owl.
PROBABILITIES = torch.tensor([[0.1, 0.1, 0.5, 0.3], [0.2, 0.6, 0.1, 0.1], [0.3, 0.1, 0.1, 0.5]])


def name(names='recognition', score='geometric', alpha=0.5, class_map=None, **fields):
    prompts = Prompts(bboxes=torch.rand(3, 4), **fields)
    instances = InstanceData(bboxes=prompts.bboxes)
    LabelFusion(names, score, alpha)(instances, prompts, PROBABILITIES, class_map)
    return instances


DETECTED = dict(labels=torch.tensor([0, 1, 1]), scores=torch.tensor([0.9, 0.5, 0.99]))


def test_classes_are_found_by_name_however_it_is_written():
    names = ('sofa_or_couch', 'Hot Dog', 'bow_(weapon)', 'dog', 'lamp')
    class_map = ClassMap(
        ('Couch', 'hot_dog', 'DOG', 'unicorn', 'bow_(weapon)', 'settee/sofa'), names
    )
    assert class_map.labels.tolist() == [0, 1, 3, -1, 2, 0]
    assert class_map.known.tolist() == [True, True, True, True, False]
    assert class_map.missing == ('unicorn',)
    # the same spelling comes before a part of another name
    assert ClassMap(('dog', 'cat/dog'), ('cat/dog', 'dog')).labels.tolist() == [1, 0]


def test_the_detectors_name_comes_first_where_it_is_asked_and_the_vocabulary_has_it():
    class_map = ClassMap(('cat', 'dog'), NAMES)
    for told in ({}, dict(labels=DETECTED['labels'])):
        alone = name(class_map=class_map, **told)
        assert alone.labels.tolist() == [2, 1, 3]
        assert torch.equal(alone.topk_scores, PROBABILITIES.sort(descending=True).values)
    found = name('detector', 'recognition', class_map=class_map, **DETECTED)
    assert found.labels.tolist() == [0, 1, 1]
    assert found.scores.tolist() == pytest.approx([0.1, 0.6, 0.1])  # as recognition has it
    assert found.topk_labels.tolist()[0] == [0, 2, 3, 1]
    assert found.topk_scores[0].tolist() == pytest.approx([0.1, 0.5, 0.3, 0.1])
    for names in ('detector', 'fused'):
        found = name(names, class_map=ClassMap(('cat', 'unicorn'), NAMES), **DETECTED)
        assert found.labels.tolist()[1:] == [1, 3]


@pytest.mark.parametrize('alpha', [0.0, 0.3, 1.0])
def test_fused_names_are_the_geometric_mean_among_what_the_detector_knows(alpha):
    class_map = ClassMap(('cat', 'dog', 'fox'), NAMES)
    found = name('fused', 'recognition', alpha, class_map, **DETECTED)
    theirs = torch.tensor([[0.9, 0.05, 0.05], [0.25, 0.5, 0.25], [0.005, 0.99, 0.005]])
    mean = PROBABILITIES[:, :3] ** (1 - alpha) * theirs**alpha
    want = mean / mean.sum(1, keepdim=True) * PROBABILITIES[:, :3].sum(1, keepdim=True)
    want = torch.cat((want, PROBABILITIES[:, 3:]), 1)
    assert torch.allclose(found.topk_scores, want.sort(descending=True).values, atol=1e-6)
    assert found.labels.tolist() == want.argmax(1).tolist()


@given(
    alpha=st.floats(0, 1),
    scores=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    known=st.integers(1, 4),
    seed=st.integers(0, 2**31),
)
def test_fused_probabilities_keep_their_sum_and_are_finite(alpha, scores, known, seed):
    class_map = ClassMap(NAMES[:known], NAMES)
    labels = torch.randint(known, (3,), generator=torch.Generator().manual_seed(seed))
    found = name(
        'fused', 'recognition', alpha, class_map, labels=labels, scores=torch.tensor(scores)
    )
    assert torch.allclose(found.topk_scores.sum(1), PROBABILITIES.sum(1), atol=1e-5)


@pytest.mark.parametrize('names', ['recognition', 'detector', 'fused'])
def test_scores_are_the_names_the_prompts_or_the_root_of_their_product(names):
    class_map = ClassMap(('cat', 'dog'), NAMES)
    found = {
        score: name(names, score, class_map=class_map, **DETECTED).scores
        for score in ('recognition', 'detector', 'geometric')
    }
    assert torch.equal(found['detector'], DETECTED['scores'])
    product = found['recognition'] * found['detector']
    assert torch.allclose(found['geometric'], product.sqrt())


def test_a_model_without_names_keeps_what_the_prompts_say():
    instances = InstanceData(bboxes=torch.rand(3, 4))
    LabelFusion('recognition', 'geometric', 0.5)(
        instances, Prompts(bboxes=instances.bboxes, **DETECTED), None
    )
    assert torch.equal(instances.labels, DETECTED['labels'])
    assert torch.equal(instances.scores, DETECTED['scores'])
