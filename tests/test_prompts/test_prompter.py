import pytest
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample

from mmovsam.prompts import Prompter


@pytest.mark.parametrize('kind', ['GTPrompter', 'GridPrompter', 'FilePrompter'])
def test_every_prompter_takes_a_filter_and_has_no_classes_unless_told(kind):
    arguments = dict(file='absent.json') if kind == 'FilePrompter' else {}
    prompter = MODELS.build(dict(type=kind, filter=dict(max_per_img=3), **arguments))
    assert isinstance(prompter, Prompter)
    assert prompter.filter.max_per_img == 3
    assert prompter.classes is None


def test_filter_is_applied_to_each_image_alone():
    prompter = MODELS.build(
        dict(type='GridPrompter', points_per_side=2, filter=dict(max_per_img=3))
    )
    samples = [DetDataSample(metainfo=dict(ori_shape=shape)) for shape in ((8, 8), (4, 4))]
    first, second = prompter(samples)
    assert first.point_coords[:, 0].tolist() == [[1.5, 1.5], [5.5, 1.5], [1.5, 5.5]]
    assert second.point_coords[:, 0].tolist() == [[0.5, 0.5], [2.5, 0.5], [0.5, 2.5]]


def test_unknown_setting_of_the_filter_is_named():
    with pytest.raises(ValueError, match='filter has no score'):
        MODELS.build(dict(type='GTPrompter', filter=dict(score=1)))
