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
    assert ours['img_shape'] == ours['img'].shape[:2]
    factors = ours['img_shape'][1] / width, ours['img_shape'][0] / height
    assert ours['scale_factor'] == pytest.approx(factors)
    if int(size / max(height, width) * min(height, width) + 0.5):
        theirs = Resize(scale=(size, size), keep_ratio=True).transform(dict(img=image))
        assert np.array_equal(ours['img'], theirs['img'])
        assert ours['img_shape'] == theirs['img_shape']
