import torch

from mmovsam.prompts.boxes import clip_boxes

NAN, INF = float('nan'), float('inf')


def test_boxes_are_cut_off_at_the_edges_and_the_rest_is_told_apart():
    bboxes = torch.tensor(
        [
            [-5, -5, 10, 100],
            [2, 3, 4, 5],
            [70, 0, 80, 5],  # outside
            [5, 5, 5, 9],  # no area
            [9, 5, 5, 9],  # inverted
            [NAN, 0, 5, 5],
            [0, 0, INF, 5],
        ]
    )
    before = bboxes.clone()
    clipped, has_area = clip_boxes(bboxes, (40, 60))
    assert clipped[:2].tolist() == [[0, 0, 10, 40], [2, 3, 4, 5]]
    assert has_area.tolist() == [True, True, False, False, False, False, False]
    assert torch.equal(bboxes[:5], before[:5]), 'the given boxes stay as they are'
