"""Tracks objects through a clip, with a journal to resume from."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from ..engine.processes import only_run
from ..fileio import write_atomic
from ..logs import warn
from .auto_labeling.journal import Journal, model_settings, read_record
from .find import SCORE_THR
from .predictor import OVSAMPredictor
from .tracker import Tracker, bboxes_of


def track(
    predictor: OVSAMPredictor,
    frames: Iterable[tuple[str, np.ndarray]],
    names: Sequence[str] | None = None,
    bboxes: np.ndarray | None = None,
    *,
    video: str = 'clip',
    score_thr: float = SCORE_THR,
    on_frame: Callable[[str, np.ndarray, list[dict]], None] | None = None,
    out: str | PathLike | None = None,
    overwrite: bool = False,
    **options,
) -> dict:
    """Track objects through a clip.

    With `out`, each frame's objects are written at once to a journal beside it. Of a run that is
    interrupted, though not killed, `out` has the finished frames. The same call resumes the run,
    with the result that it would have had.

    Args:
        predictor: Its current images are replaced.
        frames: Names and images `(H, W, 3)` uint8 BGR, see `mmovsam.apis.frames.read_frames`.
        names: Names of the objects to track, those of the first frame that has any, see
            `OVSAMPredictor.find`.
        bboxes: Or boxes `(N, 4)` xyxy in pixels of the first frame.
        video: Name of the clip.
        score_thr: As for `find`.
        on_frame: Called with each frame's name, image and objects.
        out: A JSON file to write the result to.
        overwrite: Whether to replace `out`, and to discard an unfinished run with other settings.
        options: Arguments of `Tracker`.

    Returns:
        COCO's layout with `videos`; images have `video_id` and `frame_id`, from 0, annotations
        `video_id`, `track_id` and `score`.

    Raises:
        FileExistsError: `out` exists.
        ValueError: Neither names nor boxes are given, or both, there are no frames, an unfinished
            run had other settings or frames, or as for `Tracker`.
    """
    if (names is None) == (bboxes is None):
        raise ValueError('Give names or bboxes of what is to be followed.')
    tracker, records = Tracker(predictor, **options), []

    def track_into(image: np.ndarray) -> list[dict]:
        if tracker.tracks:
            return tracker.step(image, image_format='BGR')
        if bboxes is not None:
            return tracker.start(image, bboxes, image_format='BGR')
        things = predictor.find(names, image, image_format='BGR', score_thr=score_thr)
        labels = [thing['name'] for thing in things]
        return tracker.start(image, bboxes_of(things), labels, image_format='BGR') if things else []

    def track_frames(save: Callable[[dict], None]) -> None:
        for number, (name, image) in enumerate(frames):
            height, width = image.shape[:2]
            record = dict(file_name=name, width=width, height=height)
            if out is not None:
                record['crc32'] = zlib.crc32(np.ascontiguousarray(image))
            if number < len(records):
                if record != {key: records[number][key] for key in record}:
                    raise ValueError(
                        f'Frame {number}, {name}, is not that of the unfinished run of {out}. '
                        f'Write somewhere else, or remove {out}.journal.'
                    )
                continue
            things = track_into(image)
            if on_frame is not None:
                on_frame(name, image, things)
            records.append(dict(record, objects=things))
            save(records[-1])

    if out is None:
        track_frames(lambda record: None)
        return _as_coco(records, names or (), video)
    settings = dict(model_settings(predictor), video=video, names=names, score_thr=score_thr)
    settings.update(options, bboxes=None if bboxes is None else np.asarray(bboxes).tolist())
    journal = Journal(out := Path(out), settings)
    journal.check_new([out], overwrite)
    with only_run(journal.folder / 'lock'):
        state = journal.folder / 'tracker.pth'  # may lag behind the records
        locations = list(journal.open(overwrite).values())
        if locations and state.exists():
            num_frames = tracker.load(state)
            records += map(read_record, locations[:num_frames])
            warn(f'An unfinished run goes on after its {num_frames} frames.')
        with journal.writer(0) as write:

            def save(record: dict) -> None:
                write(record)
                tracker.save(state, len(records))

            try:
                track_frames(save)
                result = _as_coco(records, names or (), video)
                write_atomic(out, json.dumps(result))
            except BaseException:
                if records:
                    write_atomic(out, json.dumps(_as_coco(records, names or (), video)))
                    warn(f'{out} has {len(records)} frames. The same call goes on from there.')
                else:
                    journal.remove()
                raise
        journal.remove()
    return result


def _as_coco(records: Sequence[Mapping], names: Sequence[str], video: str) -> dict:
    """The result of `track`; categories are the names, then further names of objects."""
    if not records:
        raise ValueError(f'{video} has no frame.')
    images, annotations = [], []
    categories = {name: number for number, name in enumerate(names, 1)}
    for number, record in enumerate(records):
        image = {key: record[key] for key in ('file_name', 'width', 'height')}
        images.append(dict(id=number + 1, **image, video_id=1, frame_id=number))
        for thing in record['objects']:
            category_id = categories.setdefault(thing['name'], len(categories) + 1)
            fields = {key: value for key, value in thing.items() if key != 'name'}
            ids = dict(id=len(annotations) + 1, image_id=number + 1, video_id=1)
            annotations.append(dict(ids, category_id=category_id, **fields, iscrowd=0))
    return dict(
        videos=[dict(id=1, name=video)],
        images=images,
        annotations=annotations,
        categories=[dict(id=number, name=name) for name, number in categories.items()],
    )
