"""Labels for a folder of images, by any number of processes, however often they are killed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from os import PathLike
from pathlib import Path

import numpy as np
from mmengine.dist import barrier, get_dist_info
from tqdm import tqdm

from ...engine.processes import SharedCounter, by_main_process, only_run
from ...fonts import font_families
from ...validation import require_at_least, require_fraction, require_not_among
from ..input_list import list_images
from ..predictor import OVSAMPredictor
from .formats import distinct_files, label_files, picture_folder, shard_files, write_labels
from .journal import Journal, Place, read_record
from .label_studio import label_config_of
from .labeler import MAX_FAILED, Labeler, picture_path
from .sources import EVERYTHING, find_source
from .yolo_pictures import picture_files


@dataclass(frozen=True)
class Labeled:
    """What a run has done: images and objects in the result, and why others are `unreadable`."""

    num_images: int
    num_objects: int
    unreadable: dict[str, str]


def auto_label(
    predictor: OVSAMPredictor,
    images: str | PathLike,
    out: str | PathLike,
    *,
    prompter: str | PathLike = EVERYTHING,
    prompter_options: Mapping | None = None,
    format: str = 'coco',
    polygons: bool = False,
    label_config: str | PathLike | None = None,
    score_thr: float = 0.0,
    unknown_below: float | None = None,
    top_k: int = 5,
    show_dir: str | PathLike | None = None,
    font: str | PathLike | None = None,
    batch_size: int = 1,
    num_workers: int = 2,
    shard: int | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Labeled:
    """Find, cut out and name the objects of many images.

    What is found goes at once into a journal beside `out`, the folder `<out>.journal`, which is
    removed when `out` is written. A run that was stopped, by whatever, is taken up by the same
    call, and its result is the one that it would have had, byte for byte: on the same kind of
    device, with as many threads and, for a `batch_size` above 1, a predictor of `cache_size` 0.
    Images that could not be read are tried again.

    Called by all processes of a process group, each of them takes the next images whenever it is
    done with some; all need to see the folder of `out`.

    Args:
        predictor: With the vocabulary that is wanted. The images that it has set stay set.
        images: See `list_images`.
        out: A file for COCO and Label Studio; a folder for LabelMe and YOLO; see `label_files`.
        prompter: What says where objects are: see `find_source`.
        prompter_options: More arguments of it.
        format: `'coco'`, `'coco_panoptic'`, `'labelme'`, `'yolo'` or `'label_studio'`: see
            `write_coco`, `write_coco_panoptic`, `write_labelme`, `write_yolo`,
            `write_label_studio`.
        polygons: For COCO and Label Studio: polygons in place of run lengths.
        label_config: For Label Studio: the file of a project's label config, which says whether
            labels are brush masks, polygons or rectangles, and has all names; by default one is
            made.
        score_thr: Objects with a lower score are left out.
        unknown_below: Objects whose best name is less probable are called `unknown`, the last
            class; None to have no such class.
        top_k: How many of the best names of an object are kept.
        show_dir: A folder for pictures of the labels, one an image.
        font: Of the names in pictures: an installed family or a file; by default whichever fonts
            of the system have the letters.
        batch_size: Images encoded at once.
        num_workers: Threads of each process that read images ahead.
        shard: For COCO: besides `out`, files of so many images each, see `shard_files`.
        overwrite: Whether to replace files of an earlier run, and to forget an unfinished one that
            had other settings.
        progress: Whether to show a bar, for all processes together.

    Returns:
        The same in all processes.

    Raises:
        FileNotFoundError: There are no such images, or a file of the prompter is missing.
        FileExistsError: A file would be replaced.
        ValueError: An argument is unknown or out of range, an unfinished run had other settings,
            another run is writing `out`, two images would have one file, one would be replaced, or
            none can be read.
    """
    require_fraction(score_thr=score_thr, unknown_below=unknown_below or 0)
    require_at_least(1, batch_size=batch_size, top_k=top_k, num_workers=num_workers, shard=shard)
    if polygons and (format not in ('coco', 'label_studio') or label_config):
        whose = 'one with a label config' if label_config else format
        raise ValueError(f'polygons are a choice of format coco or label_studio, not of {whose}.')
    if label_config and format != 'label_studio':
        raise ValueError(f'A label config is for format label_studio, not {format}.')
    if shard and format != 'coco':
        raise ValueError(f'shards are a choice of format coco only, not of {format}.')
    font_families((), font)  # an unknown one is an error now
    out = Path(out)
    # the others have the main process's list: a folder may grow while they look
    made = [folder for folder in (show_dir, picture_folder(out, format, images)) if folder]
    paths = by_main_process(partial(list_images, images, leave_out=made))
    files = label_files(out, format, paths)
    if format == 'yolo':
        files += picture_files(out, paths).values()
    names = list(paths)
    require_not_among(files, paths.values())
    shards = shard_files(out, names, shard) if shard else {}
    if show_dir is not None:
        show_dir = Path(show_dir)
        distinct_files({name: picture_path(show_dir, name) for name in paths})
    labeler = Labeler(
        predictor.fork(),
        find_source(prompter, prompter_options or {}, names),
        score_thr=score_thr,
        unknown_below=unknown_below,
        top_k=top_k,
        show_dir=show_dir,
        font=font,
        with_polygons=polygons and format == 'coco' or format in ('labelme', 'yolo'),
        max_failed=min(MAX_FAILED, len(paths)),
    )
    if format == 'label_studio':
        label_config = label_config_of(labeler.names, label_config, polygons)
    batches = [names[start : start + batch_size] for start in range(0, len(names), batch_size)]
    settings = dict(labeler.settings, batch_size=batch_size)
    journal = Journal(out, settings)
    by_main_process(partial(journal.check_new, [*files, *shards], overwrite))
    with only_run(journal.folder / 'lock'):
        todo = by_main_process(partial(_todo, journal, batches, overwrite, progress))
        _label(labeler, paths, [batches[i] for i in todo], num_workers, journal, progress)
        about = dict(polygons=polygons, names=labeler.names, label_config=label_config)
        write = partial(write_labels, format=format, **about)
        results = {out: names, **shards}
        return by_main_process(partial(_finish, journal, paths, results, write, progress))


def _todo(
    journal: Journal, batches: Sequence[Sequence[str]], overwrite: bool, progress: bool
) -> list[int]:
    """The numbers of the batches that are still to be done."""
    done = {name for name, place in journal.open(overwrite).items() if not place.failed}
    todo = [number for number, batch in enumerate(batches) if not done.issuperset(batch)]
    if done and progress:
        left = sum(len(batches[number]) for number in todo)
        print(f'An unfinished run goes on with the {left} images that it has left.')
    return todo


def _label(
    labeler: Labeler,
    paths: Mapping[str, Path],
    todo: Sequence[Sequence[str]],
    num_workers: int,
    journal: Journal,
    progress: bool,
) -> None:
    """Label batches until, in all processes, none is left."""
    rank, num_processes = get_dist_info()
    if not journal.folder.is_dir():
        raise FileNotFoundError(
            f'Process {rank} does not see {journal.folder}, which the main process has made: all '
            'machines need to share its folder.'
        )
    taken, done = SharedCounter(), SharedCounter()
    numbers = takewhile(len(todo).__gt__, iter(lambda: taken.add(1) - 1, None))
    batches = (todo[number] for number in numbers)
    bar = tqdm(
        total=sum(map(len, todo)),
        unit='image',
        desc=f'{num_processes} processes' if num_processes > 1 else None,
        disable=not progress or rank > 0,
    )
    failed = []  # written last: if the run ends before, they are tried again
    with bar, journal.writer(rank) as write:
        for images in _read_ahead(labeler, paths, batches, num_workers):
            for record in labeler.label(images):
                if 'error' in record:
                    failed.append(record)
                else:
                    write(record)
            bar.update(done.add(len(images)) - bar.n)
        for record in failed:
            write(record)
        barrier()
        bar.update(done.add(0) - bar.n)


def _read_ahead(
    labeler: Labeler, paths: Mapping[str, Path], batches: Iterable[Sequence[str]], num_workers: int
) -> Iterator[dict[str, np.ndarray | str]]:
    """Batches of images by their names, read by threads while earlier ones are labeled."""
    with ThreadPoolExecutor(num_workers) as pool:
        ahead: deque[dict] = deque()
        for batch in batches:
            ahead.append({name: pool.submit(labeler.read, paths[name]) for name in batch})
            if sum(map(len, ahead)) > num_workers and len(ahead) > 1:
                yield {name: image.result() for name, image in ahead.popleft().items()}
        while ahead:
            yield {name: image.result() for name, image in ahead.popleft().items()}


@dataclass(frozen=True)
class _Records:
    """Records in the order of their places, read anew each time that one iterates."""

    places: Sequence[Place]
    progress: bool

    def __iter__(self) -> Iterator[dict]:
        bar = tqdm(self.places, 'writing', unit='image', disable=not self.progress, delay=5)
        return map(read_record, bar)


def _finish(
    journal: Journal,
    paths: Mapping[str, Path],
    files: Mapping[Path, Sequence[str]],
    write: partial,
    progress: bool,
) -> Labeled:
    """Write the result, files with the images of some names, and remove the journal."""
    places = journal.places()
    if not places.keys() >= paths.keys():
        raise FileNotFoundError(f'What is done is no longer in {journal.folder}: run it again.')
    unreadable = {name: read_record(places[name])['error'] for name in paths if places[name].failed}
    readable = {name: path for name, path in paths.items() if name not in unreadable}
    if not readable:
        journal.remove()
        name, error = next(iter(unreadable.items()))
        raise ValueError(f'None of the {len(unreadable)} images can be read, as {name}: {error}')
    first_ids, next_ids = {}, (1, 1)
    for name in readable:
        first_ids[name] = next_ids
        next_ids = next_ids[0] + 1, next_ids[1] + places[name].num_objects
    for file, names in files.items():
        chosen = [name for name in names if name in readable]
        write(
            file,
            records=_Records([places[name] for name in chosen], progress),
            images=readable,
            first_ids=first_ids[chosen[0]] if chosen else (1, 1),
        )
    journal.remove()
    return Labeled(len(readable), next_ids[1] - 1, unreadable)
