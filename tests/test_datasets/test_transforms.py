import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mmdet.datasets.transforms import Resize

from mmovsam.datasets.transforms import ResizeLongestSide


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 70))
def test_result_is_that_of_resize_wherever_no_side_vanishes(height, width, size):
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ours = ResizeLongestSide(size).transform(dict(img=image))
    assert max(ours['img'].shape[:2]) == size and min(ours['img'].shape[:2]) >= 1
    if int(size / max(height, width) * min(height, width) + 0.5):
        theirs = Resize(scale=(size, size), keep_ratio=True).transform(dict(img=image))
        assert np.array_equal(ours['img'], theirs['img'])
        assert ours['img_shape'] == theirs['img_shape']
        assert ours['scale_factor'] == pytest.approx(theirs['scale_factor'])


@pytest.mark.parametrize('shape, expected', [((1, 8000), (1, 96)), ((8000, 1), (96, 1))])
def test_shorter_side_keeps_a_pixel(shape, expected):
    results = ResizeLongestSide(96).transform(dict(img=np.zeros((*shape, 3), np.uint8)))
    assert results['img'].shape[:2] == results['img_shape'] == expected
    factors = expected[1] / shape[1], expected[0] / shape[0]
    assert results['scale_factor'] == pytest.approx(factors)
