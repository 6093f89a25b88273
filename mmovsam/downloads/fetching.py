"""Cached downloads from the Hugging Face hub, of open_clip's weights, and from URLs."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from mmengine.logging import print_log

from ..fileio import CACHE_VARIABLE, cache_folder, write_atomic
from ..logs import warn
from .errors import DownloadError, explain
from .http import download, is_reachable

ADDRESSES = ('hf://', 'open_clip://', 'https://', 'http://')
_SLAB = (
    'NTU S-Lab License 1.0, for non-commercial use only '
    '(https://github.com/HarborYuan/ovsam/blob/main/LICENSE)'
)
_SAM = 'Apache License 2.0 (https://github.com/facebookresearch/segment-anything/blob/main/LICENSE)'
_CLIP = 'MIT License of OpenAI (https://github.com/openai/CLIP/blob/main/LICENSE)'
_LICENCES = (
    (r'^hf://HarborYuan/ovsam_models[@/]', _SLAB),
    (r'(^|/)(sam2clip_vith|clip2sam_(coco|lvis))_rn50x16\.pth$', _SLAB),
    (r'(^|/)sam_vit_[hlb]_\w+\.pth(#|$)', _SAM),
    (r'^open_clip://.*:openai$', _CLIP),
)


@dataclass(frozen=True)
class _Record:
    """The first download from an address.

    Attributes:
        revision: The hub's commit, to which later downloads are pinned.
        path, size, mtime_ns: The file when its SHA-256 was last verified.
    """

    address: str
    sha256: str
    size: int
    revision: str | None = None
    path: str = ''
    mtime_ns: int = 0

    def is_unchanged(self) -> bool:
        """Whether the file has not changed since it was verified."""
        try:
            stat = os.stat(self.path)
        except OSError:
            return False
        return (stat.st_size, stat.st_mtime_ns) == (self.size, self.mtime_ns)


def is_address(name: str | Path) -> bool:
    """Whether `fetch` takes this name."""
    return str(name).startswith(ADDRESSES)


def licence_of(address: str) -> str | None:
    """The licence of a released file by its address or name; None if unknown."""
    return next((licence for pattern, licence in _LICENCES if re.search(pattern, address)), None)


def fetch(address: str) -> Path:
    """The local copy of a file, which is downloaded at first use.

    Before a first download the licence is logged, if known. Of several processes one downloads.
    The SHA-256 of the first download, and the commit of a file of the hub, are recorded; later
    downloads are pinned to the commit, and refused if the SHA-256 differs.

    Args:
        address: `hf://OWNER/REPOSITORY/FILE` of the Hugging Face hub (with
            `REPOSITORY@REVISION` of one revision), `open_clip://MODEL:TAG` of open_clip's list of
            pretrained weights, `https://...` or `http://...`.

    Returns:
        A file of the cache: do not change it.

    Raises:
        DownloadError: It cannot be fetched, or is another file than before.
        ValueError: The address is none of these.
    """
    if address.startswith('hf://'):
        return _fetch_verified(address, _from_hub)
    if address.startswith('open_clip://'):
        return _fetch_verified(address, _from_open_clip)
    if address.startswith(ADDRESSES):
        name = os.path.basename(urlsplit(address).path) or 'file'
        return cached_file(address, name, lambda target: download(address, target))
    raise ValueError(f'{address} is no address: expected one of {", ".join(ADDRESSES)}...')


def cached_file(address: str, name: str, make: Callable[[Path], None]) -> Path:
    """A file of the cache, which one process makes at first use.

    `make` writes it atomically to the given path; `address` is its key.

    Raises:
        DownloadError: It cannot be made, or is another file than before.
    """
    folder = _downloads()
    if folder is None:
        raise DownloadError(
            f'{address} would be kept in the cache, which {CACHE_VARIABLE}=off switches off. Name '
            f'a folder with {CACHE_VARIABLE}.'
        )
    target = folder / _key(address) / name

    def make_target(address: str, revision: str | None) -> tuple[Path, str | None]:
        if not target.is_file():
            make(target)
        return target, None

    return _fetch_verified(address, make_target)


def recorded_sha256(address: str) -> str | None:
    """SHA-256 of the first download from an address; None without one."""
    record = _read_record(_downloads(), address)
    return record.sha256 if record else None


def _fetch_verified(address: str, get: Callable) -> Path:
    """Call `get` under a lock, log the licence before, and compare the SHA-256 after."""
    folder = _downloads()
    try:
        with _lock(folder, address):
            record = _read_record(folder, address)
            if record is not None and record.is_unchanged():
                return Path(record.path)
            if record is None and (licence := licence_of(address)):
                warn(f'{address}: {licence}')
            path, revision = get(address, record.revision if record else None)
            _verify(path, address, folder, record, revision)
        return path
    except (DownloadError, io.UnsupportedOperation):
        raise
    except Exception as error:  # of four libraries, whose errors vary between versions
        if isinstance(error, ValueError) and not isinstance(error, OSError):
            raise
        where = folder or os.environ.get('HF_HOME', '~/.cache/huggingface')
        raise explain(error, address, where) from error


def _from_hub(address: str, revision: str | None) -> tuple[Path, str | None]:
    parts = address.removeprefix('hf://').split('/', 2)
    if len(parts) < 3 or not all(parts):
        raise ValueError(f'{address} is incomplete: expected hf://OWNER/REPOSITORY/FILE.')
    owner, repository, filename = parts
    repository, _, requested = repository.partition('@')
    return _hub_file(f'{owner}/{repository}', [filename], revision or requested or None)


def _from_open_clip(address: str, revision: str | None) -> tuple[Path, str | None]:
    import open_clip

    model, _, tag = address.removeprefix('open_clip://').rpartition(':')
    cfg = open_clip.pretrained.get_pretrained_cfg(model, tag)
    if not cfg:
        tags = ', '.join(open_clip.list_pretrained_tags_by_model(model)) or 'none'
        raise ValueError(
            f'{model}:{tag} is no model and tag of open_clip, such as RN50x16:openai. Tags that '
            f'open_clip knows for {model!r}: {tags}.'
        )
    if cfg.get('file'):
        return Path(cfg['file']), None
    if not cfg.get('hf_hub'):
        return fetch(cfg['url']), None
    repository, _, filename = cfg['hf_hub'].rpartition('/')
    # like open_clip, prefer safetensors
    filenames = [filename]
    if not filename:
        filenames = ['open_clip_model.safetensors', 'open_clip_pytorch_model.bin']
    elif filename.endswith(('.bin', '.pth')):
        filenames.insert(0, f'{filename[:-4]}.safetensors')
    return _hub_file(repository, filenames, revision)


def _hub_file(
    repository: str, filenames: Sequence[str], revision: str | None
) -> tuple[Path, str | None]:
    """The first of several files that a repository of the hub has, and its commit if known.

    If the hub does not answer, the cache is used at once, where huggingface_hub would retry for
    half a minute.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    reason = is_reachable(constants.ENDPOINT)
    settings = dict(revision=revision, local_files_only=reason is not None)
    for filename in filenames:
        try:
            path = Path(hf_hub_download(repository, filename, **settings))
        except (EntryNotFoundError, LocalEntryNotFoundError) as error:
            if filename != filenames[-1]:
                continue
            if isinstance(error, LocalEntryNotFoundError):
                raise error from reason or error.__cause__
            raise
        folders = path.parts[: -len(Path(filename).parts)]  # .../snapshots/COMMIT
        return path, folders[-1] if folders[-2:-1] == ('snapshots',) else None


def _verify(path: Path, address: str, folder, record: _Record | None, revision) -> None:
    """Compare a file with its record, and update the record."""
    sha256 = sha256_of(path)
    if record is not None and sha256 != record.sha256:
        raise DownloadError(
            f'{address} has the SHA-256 {sha256}, expected is {record.sha256}: it is another file '
            f'than before, or damaged. Delete {path.resolve()} to fetch it again; if the new one '
            f'is meant, delete {_record_file(folder, address)} too.'
        )
    if folder is not None:
        stat = path.stat()
        revision = revision or (record and record.revision)
        new = _Record(address, sha256, stat.st_size, revision, str(path), stat.st_mtime_ns)
        with contextlib.suppress(OSError):
            write_atomic(_record_file(folder, address), json.dumps(asdict(new), indent=1))


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def _lock(folder: Path | None, address: str) -> Iterator[None]:
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f'{_key(address)}.lock')
    try:
        lock.acquire(timeout=1)
    except Timeout:
        print_log(f'Another process fetches {address}: waiting for it.', logger='current')
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _downloads() -> Path | None:
    folder = cache_folder()
    return folder and folder / 'downloads'


def _key(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:16]


def _record_file(folder: Path, address: str) -> Path:
    return folder / f'{_key(address)}.json'


def _read_record(folder: Path | None, address: str) -> _Record | None:
    if folder is None:
        return None
    try:
        record = _Record(**json.loads(_record_file(folder, address).read_text(encoding='utf-8')))
    except (OSError, ValueError, TypeError):
        return None
    return record if record.address == address else None
