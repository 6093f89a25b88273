"""Labels a folder of images, with any number of processes, resuming interrupted runs."""

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
from .journal import Journal, Location, read_record
from .label_studio import label_config_of
from .labeler import MAX_FAILED, Labeler, picture_path
from .sources import EVERYTHING, find_source
from .yolo_pictures import picture_files


@dataclass(frozen=True)
class Labeled:
    """Numbers of labeled images and objects, and the errors of `unreadable` images by name."""

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
    """Segment and name the objects of many images, and write the labels.

    Results are written at once to a journal, the folder `<out>.journal`, which is removed when
    `out` is complete. The same call resumes an interrupted run, with a result that is equal byte
    for byte on the same kind of device, with as many threads and, for a `batch_size` above 1, a
    predictor with `cache_size` 0. Unreadable images are tried again.

    In a process group all processes call this function and share the images; all need access to the
    folder of `out`.

    Args:
        predictor: A predictor with the vocabulary; its current images are kept.
        images: See `list_images`.
        out: A file for COCO and Label Studio, a folder for LabelMe and YOLO, see `label_files`.
        prompter: Where the objects come from, see `find_source`.
        prompter_options: Its options.
        format: `'coco'`, `'coco_panoptic'`, `'labelme'`, `'yolo'` or `'label_studio'`: see
            `write_coco`, `write_coco_panoptic`, `write_labelme`, `write_yolo`,
            `write_label_studio`.
        polygons: For COCO and Label Studio: write polygons in place of run lengths.
        label_config: For Label Studio: a file with a project's label config, which has all names
            and decides between brush masks, polygons and rectangles; by default one is made.
        score_thr: Minimum score of an object.
        unknown_below: Objects whose best name is less probable get the name `unknown`, the last
            class; None to have no such class.
        top_k: Number of names of each object, at most.
        show_dir: A folder for pictures of the labels.
        font: Font of names in pictures, an installed family or a file; by default the system's
            fonts that have the letters.
        batch_size: Number of images encoded at once.
        num_workers: Number of threads per process that read images ahead.
        shard: For COCO: number of images in each of additional files, see `shard_files`.
        overwrite: Whether to replace existing files, and to discard an unfinished run with other
            settings.
        progress: Whether to show a progress bar.

    Returns:
        The same in all processes.

    Raises:
        FileNotFoundError: The images, or a file of the prompter, do not exist.
        FileExistsError: A file would be replaced.
        ValueError: An argument is unknown or out of range, an unfinished run had other settings,
            another run is writing `out`, two images would have one label file, an image would be
            overwritten, or none can be read.
    """
    require_fraction(score_thr=score_thr, unknown_below=unknown_below or 0)
    require_at_least(1, batch_size=batch_size, top_k=top_k, num_workers=num_workers, shard=shard)
    if polygons and (format not in ('coco', 'label_studio') or label_config):
        chosen = 'one with a label config' if label_config else format
        raise ValueError(f'polygons are a choice of format coco or label_studio, not of {chosen}.')
    if label_config and format != 'label_studio':
        raise ValueError(f'A label config is for format label_studio, not {format}.')
    if shard and format != 'coco':
        raise ValueError(f'shards are a choice of format coco only, not of {format}.')
    font_families((), font)  # raises if it is unknown
    out = Path(out)
    # listed once for all processes: the folder may grow meanwhile
    result_folders = [f for f in (show_dir, picture_folder(out, format, images)) if f]
    paths = by_main_process(partial(list_images, images, leave_out=result_folders))
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
        unfinished = by_main_process(
            partial(_unfinished_batches, journal, batches, overwrite, progress)
        )
        _label(labeler, paths, unfinished, num_workers, journal, progress)
        write = partial(
            write_labels,
            format=format,
            polygons=polygons,
            names=labeler.names,
            label_config=label_config,
        )
        results = {out: names, **shards}
        return by_main_process(partial(_finish, journal, paths, results, write, progress))


def _unfinished_batches(
    journal: Journal, batches: Sequence[Sequence[str]], overwrite: bool, progress: bool
) -> list[Sequence[str]]:
    """The batches of which not all images are in the journal."""
    done = {name for name, location in journal.open(overwrite).items() if not location.failed}
    unfinished = [batch for batch in batches if not done.issuperset(batch)]
    if done and progress:
        num_left = sum(map(len, unfinished))
        print(f'An unfinished run goes on with the {num_left} images that it has left.')
    return unfinished


def _label(
    labeler: Labeler,
    paths: Mapping[str, Path],
    batches: Sequence[Sequence[str]],
    num_workers: int,
    journal: Journal,
    progress: bool,
) -> None:
    """Label all batches, shared among the processes."""
    rank, num_processes = get_dist_info()
    if not journal.folder.is_dir():
        raise FileNotFoundError(
            f'Process {rank} does not see {journal.folder}, which the main process has made: all '
            'machines need to share its folder.'
        )
    num_taken, num_done = SharedCounter(), SharedCounter()
    indices = takewhile(len(batches).__gt__, iter(lambda: num_taken.add(1) - 1, None))
    taken = (batches[index] for index in indices)
    bar = tqdm(
        total=sum(map(len, batches)),
        unit='image',
        desc=f'{num_processes} processes' if num_processes > 1 else None,
        disable=not progress or rank > 0,
    )
    failed = []  # written last: an interrupted run tries them again
    with bar, journal.writer(rank) as write:
        for images in _read_ahead(labeler, paths, taken, num_workers):
            for record in labeler.label(images):
                if 'error' in record:
                    failed.append(record)
                else:
                    write(record)
            bar.update(num_done.add(len(images)) - bar.n)
        for record in failed:
            write(record)
        barrier()
        bar.update(num_done.add(0) - bar.n)


def _read_ahead(
    labeler: Labeler, paths: Mapping[str, Path], batches: Iterable[Sequence[str]], num_workers: int
) -> Iterator[dict[str, np.ndarray | str]]:
    """Batches of images by name, read by threads while earlier ones are labeled."""
    with ThreadPoolExecutor(num_workers) as pool:
        queue: deque[dict] = deque()
        for batch in batches:
            queue.append({name: pool.submit(labeler.read, paths[name]) for name in batch})
            if sum(map(len, queue)) > num_workers and len(queue) > 1:
                yield {name: image.result() for name, image in queue.popleft().items()}
        while queue:
            yield {name: image.result() for name, image in queue.popleft().items()}


@dataclass(frozen=True)
class _Records:
    """Records that are read from the journal at each iteration."""

    locations: Sequence[Location]
    progress: bool

    def __iter__(self) -> Iterator[dict]:
        bar = tqdm(self.locations, 'writing', unit='image', disable=not self.progress, delay=5)
        return map(read_record, bar)


def _finish(
    journal: Journal,
    paths: Mapping[str, Path],
    files: Mapping[Path, Sequence[str]],
    write: partial,
    progress: bool,
) -> Labeled:
    """Write label files, each with the images of some names, and remove the journal."""
    locations = journal.locations()
    if not locations.keys() >= paths.keys():
        raise FileNotFoundError(f'What is done is no longer in {journal.folder}: run it again.')
    failed = [name for name in paths if locations[name].failed]
    unreadable = {name: read_record(locations[name])['error'] for name in failed}
    readable = {name: path for name, path in paths.items() if name not in unreadable}
    if not readable:
        journal.remove()
        name, error = next(iter(unreadable.items()))
        raise ValueError(f'None of the {len(unreadable)} images can be read, as {name}: {error}')
    first_ids, next_ids = {}, (1, 1)
    for name in readable:
        first_ids[name] = next_ids
        next_ids = next_ids[0] + 1, next_ids[1] + locations[name].num_objects
    for file, names in files.items():
        names = [name for name in names if name in readable]
        write(
            file,
            records=_Records([locations[name] for name in names], progress),
            images=readable,
            first_ids=first_ids[names[0]] if names else (1, 1),
        )
    journal.remove()
    return Labeled(len(readable), next_ids[1] - 1, unreadable)
