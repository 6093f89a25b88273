"""Objects followed through clips of the small world."""

import json
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import tiny
from mini_world import CATEGORIES, draw_clip
from mmdet.registry import MODELS
from PIL import Image
from pycocotools import mask as coco_mask
from small_world import boxes_of, mask_of

from mmovsam.apis import OVSAMPredictor, Tracker, track
from mmovsam.apis.frames import read_frames
from mmovsam.evaluation.open_vocab_metric import mask_iou

SEED = 0


@pytest.fixture(scope='module')
def small_world():
    return OVSAMPredictor.from_pretrained('ovsam-mini', 'cpu', cache_size=0)


@pytest.fixture(scope='module')
def clip():
    print('seed', SEED)
    return draw_clip(np.random.default_rng(SEED), num_frames=6, num_objects=3)


def iou(thing, mask):
    return mask_iou(mask_of(thing), mask)


def test_objects_that_stand_still_keep_their_masks_and_numbers(small_world, clip):
    tracker = Tracker(small_world)
    first = tracker.start(clip.images[0], boxes_of(clip.masks[0]), ['a', 'b', 'c'])
    again = tracker.step(clip.images[0])
    assert [each['track_id'] for each in first] == [1, 2, 3]
    assert [(each['track_id'], each['name']) for each in again] == [(1, 'a'), (2, 'b'), (3, 'c')]
    for each, mask in zip(again, clip.masks[0]):
        assert iou(each, mask) > 0.5 and 0 < each['score'] <= 1
        assert each['bbox'] == coco_mask.toBbox(each['segmentation']).tolist()
        assert each['area'] == coco_mask.area(each['segmentation'])


def test_an_object_that_was_away_is_found_again_and_one_that_is_away_is_not(small_world, clip):
    tracker = Tracker(small_world)
    image, boxes = clip.images[0], boxes_of(clip.masks[0])
    tracker.start(image, boxes)
    nothing = np.full_like(image, 128)
    assert tracker.step(nothing) == [] and [each.missed for each in tracker.tracks] == [1, 1, 1]
    turned = np.ascontiguousarray(image[:, ::-1])  # so that they are elsewhere
    found = tracker.step(turned)
    assert found
    for each in found:
        assert iou(each, clip.masks[0][each['track_id'] - 1][:, ::-1]) > 0.5
    tracker = Tracker(small_world, refind_thr=None)
    tracker.start(image, boxes)
    assert tracker.step(nothing) == [] and tracker.step(image) == []


def test_a_clip_as_coco(small_world, clip):
    names = [CATEGORIES[number - 1].name for number in clip.category_ids]
    frames = [(f'{i}.jpg', image[..., ::-1]) for i, image in enumerate(clip.images[:2])]
    on_frame, boxes = Mock(), boxes_of(clip.masks[0])
    content = track(small_world, frames, bboxes=boxes, video='x', on_frame=on_frame)
    seen = [call.args for call in on_frame.call_args_list]
    assert content['videos'] == [dict(id=1, name='x')]
    stored = [(each['file_name'], each['frame_id']) for each in content['images']]
    assert stored == [('0.jpg', 0), ('1.jpg', 1)] and [each[0] for each in seen] == [
        '0.jpg',
        '1.jpg',
    ]
    assert sum(len(each[2]) for each in seen) == len(content['annotations'])
    first = [each for each in content['annotations'] if each['image_id'] == 1]
    assert [each['track_id'] for each in first] == [1, 2, 3]
    named = track(small_world, frames[:1], names, score_thr=0.1)
    assert [each['name'] for each in named['categories']] == names and named['annotations']


def test_mistakes_are_named(small_world, tmp_path):
    with pytest.raises(ValueError, match='Give names or bboxes'):
        track(small_world, [])
    with pytest.raises(ValueError, match='clip has no frame'):
        track(small_world, [], bboxes=[[1, 1, 9, 9]], out=tmp_path / 'tracks.json')
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match='this model has no names'):
        Tracker(OVSAMPredictor(MODELS.build(tiny.SAM)))
    (tmp_path / 'clip.mp4').write_text('no video')
    with pytest.raises(ValueError, match='clip.mp4 is truncated or no video'):
        list(read_frames(tmp_path / 'clip.mp4'))
    with pytest.raises(FileNotFoundError, match='missing.mp4'):
        list(read_frames(tmp_path / 'missing.mp4'))


def test_frames_of_videos_and_folders(tmp_path, clip, logged):
    code = cv2.VideoWriter_fourcc(*'MJPG')
    video = cv2.VideoWriter(str(tmp_path / 'clip.avi'), code, 5, (320, 256))
    (tmp_path / 'frames').mkdir()
    for number, image in enumerate(clip.images):
        video.write(np.ascontiguousarray(image[..., ::-1]))
        cv2.imwrite(str(tmp_path / 'frames' / f'{number:02d}.png'), image[..., ::-1])
    video.release()
    data = (tmp_path / 'clip.avi').read_bytes()
    (tmp_path / 'cut.avi').write_bytes(data[: len(data) // 2])
    assert 0 < len(list(read_frames(tmp_path / 'cut.avi'))) < 6
    assert 'of its 6 frames can be read' in logged.text
    (tmp_path / 'camera.M2TS').write_bytes(data)
    assert len(list(read_frames(tmp_path / 'camera.M2TS'))) == 6
    (tmp_path / 'frames' / 'cut.png').write_bytes(data[:9])
    with pytest.raises(ValueError, match='cut.png is truncated'):
        list(read_frames(tmp_path / 'frames' / 'cut.png'))
    read, stored = (list(read_frames(tmp_path / name)) for name in ('clip.avi', 'frames'))
    assert [name for name, _ in read] == [f'{number:06d}.jpg' for number in range(6)]
    assert len(stored) == 6 and 'cut.png is truncated' in logged.text
    for (_, frame), (_, exact), image in zip(read, stored, clip.images):
        assert np.array_equal(exact, image[..., ::-1])
        assert np.abs(frame.astype(int) - exact).mean() < 8


def test_numbers_in_names_of_frames_count_as_numbers(tmp_path):
    names = ['b2.png', 'b10.png', 'a/f9.png', 'a/f10.png', 'a/f10b2.png', 'a/f010.png']
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new('RGB', (4, 4)).save(tmp_path / name)
    read = [name for name, _ in read_frames(tmp_path)]
    assert read == ['a/f9.png', 'a/f010.png', 'a/f10.png', 'a/f10b2.png', 'b2.png', 'b10.png']


@pytest.mark.parametrize('suffix', ['gif', 'webp', 'png'])
def test_all_frames_of_an_animation_are_read(tmp_path, logged, suffix):
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    first, *others = (Image.new('RGB', (30, 20), color) for color in colors)
    path = tmp_path / f'clip.{suffix}'
    first.save(path, save_all=True, append_images=others, lossless=True)
    read = list(read_frames(path))
    assert [name for name, _ in read] == ['000000.jpg', '000001.jpg', '000002.jpg']
    assert [frame[9, 9].tolist() for _, frame in read] == [list(color[::-1]) for color in colors]
    first.save(path)
    assert len(list(read_frames(path))) == 1
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match='is truncated or no'):
        list(read_frames(path))


def broken_off(frames, number, error):
    yield from frames[:number]
    raise error


@pytest.mark.parametrize('error', [KeyboardInterrupt(), OSError(28, 'No space left on device')])
def test_a_run_that_is_stopped_keeps_its_frames_and_goes_on(small_world, clip, tmp_path, error):
    frames = [(f'{i}.jpg', image[..., ::-1]) for i, image in enumerate(clip.images)]
    boxes, out = boxes_of(clip.masks[0]), tmp_path / 'tracks.json'
    whole = track(small_world, frames, bboxes=boxes)
    with pytest.raises(type(error)):
        track(small_world, broken_off(frames, 3, error), bboxes=boxes, out=out)
    partial = json.loads(out.read_text())
    assert partial['images'] == whole['images'][:3]
    kept = [each for each in whole['annotations'] if each['image_id'] <= 3]
    assert partial['annotations'] == kept and kept
    with pytest.raises(ValueError, match='names was null and is'):
        track(small_world, frames, ['a'], out=out)
    for others in (frames[2:], [('1.jpg', frames[1][1] // 2)]):
        with pytest.raises(ValueError, match='Frame 1, [12].jpg, is not that of the unfinished'):
            track(small_world, [frames[0], *others], bboxes=boxes, out=out)
    seen = []
    again = track(
        small_world, frames, bboxes=boxes, out=out, on_frame=lambda name, *_: seen.append(name)
    )
    assert again == whole == json.loads(out.read_text()) and seen == ['3.jpg', '4.jpg', '5.jpg']
    assert [each.name for each in tmp_path.iterdir()] == ['tracks.json']
    with pytest.raises(FileExistsError, match='There is already'):
        track(small_world, frames, bboxes=boxes, out=out)
