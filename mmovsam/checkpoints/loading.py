"""Reading and writing of checkpoints; no code in a file is ever run.

Importing this module registers loaders in MMEngine, for `load_from`, `resume` and `init_cfg`, for
`.safetensors`, `mmovsam://NAME`, `hf://`, `open_clip://` and parts of files (`https://...#PREFIX`).
MMEngine's own loaders are replaced only within `safe_loading`, which all of this package uses.
"""

import contextlib
import errno
import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors.torch
import torch
from mmengine.runner import CheckpointLoader
from safetensors import SafetensorError

from ..downloads import fetch, is_address
from ..fileio import atomic_path, describe_wrong_content
from .quantization import from_int8
from .remote import PART, fetch_part
from .torchscript import check_sums, is_torchscript, read_torchscript
from .weights_only import forced_weights_only, weights_only

SCHEME = 'mmovsam://'
SUFFIXES = ('.pth', '.pt', '.safetensors')
WEIGHTS_DIR = Path(__file__).resolve().parent.parent / 'weights'
_DISK = (errno.EIO, errno.ESTALE, errno.EACCES, errno.EPERM, errno.ENOENT, errno.EMFILE)
_replaced_loaders = {}  # of MMEngine, by prefix, within `safe_loading`
_num_blocks = 0
_blocks_lock = threading.Lock()


def resolve_path(path) -> Path:
    """The local file of a checkpoint.

    `path` is a file, `mmovsam://NAME` for weights of this package, or an address for
    `mmovsam.downloads.fetch`; with `#PREFIX`, for the tensors with a prefix, see
    `mmovsam.checkpoints.remote`.

    Raises:
        FileNotFoundError: There is no such file.
        DownloadError: It cannot be fetched.
    """
    name = str(path)
    if is_address(name):
        return fetch_part(name) if PART in name else fetch(name)
    if name.startswith(SCHEME):
        resolved = WEIGHTS_DIR / name[len(SCHEME) :]
        shipped = sorted(p.name for p in WEIGHTS_DIR.glob('*') if p.suffix in SUFFIXES)
        remedy = f'This package ships: {", ".join(shipped) or "none"}.'
        if WEIGHTS_DIR not in resolved.resolve().parents:
            raise FileNotFoundError(f'{name} is outside the weights of this package. {remedy}')
    else:
        resolved = Path(name).expanduser()
        remedy = f'Give an existing file (the working folder is {Path.cwd()}) or {SCHEME}NAME.'
    if not resolved.is_file():
        problem = 'is a folder' if resolved.is_dir() else 'does not exist'
        raise FileNotFoundError(f'Checkpoint {name} {problem}. {remedy}')
    return resolved


def load_checkpoint_file(path, map_location='cpu'):
    """Read a checkpoint of tensors and, at most, MMEngine's state.

    Args:
        path (str | Path): A `.pth` or `.pt` file of `torch.save`, a `.safetensors` file, a
            TorchScript archive such as OpenAI's CLIP files, `mmovsam://NAME`, or an address, see
            `resolve_path`.
        map_location (str | torch.device | callable | None): As in `torch.load`.

    Returns:
        dict | Tensor: The content; of a `.safetensors` file
        `{'state_dict': {name: Tensor}, 'meta': {name: str}}`, of a TorchScript archive
        `{'state_dict': {name: Tensor}}`. Weights of `to_int8` are float32. Large tensors are
        memory-mapped.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged, is no checkpoint, or refers to code.
    """
    file = resolve_path(path)
    with open(file, 'rb') as stream:
        start = stream.read(9)
    if start[8:] == b'{' or file.suffix == '.safetensors':  # the start of any safetensors file
        return _load_safetensors(file, map_location)
    if is_torchscript(file):
        return {'state_dict': _to_device(read_torchscript(file), map_location)}
    try:
        is_zip = zipfile.is_zipfile(file)  # since torch 1.6
        if is_zip:
            check_sums(file)
        with forced_weights_only():
            checkpoint = torch.load(
                str(file),
                map_location=map_location,
                weights_only=True,
                mmap=is_zip and map_location == 'cpu',
            )
    except Exception as error:  # torch raises whatever the broken bytes led to
        _check_disk(file, error)
        raise ValueError(_explain(file, error)) from error
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
        # Runner.resume executes a config under this key; current MMEngine writes 'cfg' instead
        checkpoint['meta'].pop('config', None)
    return checkpoint


@contextlib.contextmanager
def safe_loading() -> Iterator[None]:
    """A block in which MMEngine's loaders run no code of checkpoints, in all threads.

    Local files are read by `load_checkpoint_file`, and downloads with `weights_only`. Afterwards
    MMEngine's own loaders are restored. Blocks may overlap.
    """
    global _num_blocks
    with _blocks_lock:
        _num_blocks += 1
        for prefix, loader in list(CheckpointLoader._schemes.items()):
            if not getattr(loader, 'weights_only', False):
                _replaced_loaders[prefix] = loader
                safe_loader = weights_only(loader) if prefix else load_from_mmovsam
                CheckpointLoader.register_scheme(prefix, safe_loader, force=True)
    try:
        yield
    finally:
        with _blocks_lock:
            _num_blocks -= 1
            if not _num_blocks:
                for prefix, loader in _replaced_loaders.items():
                    CheckpointLoader.register_scheme(prefix, loader, force=True)
                _replaced_loaders.clear()


def state_dict_of(checkpoint) -> dict:
    """The state dict in the result of `load_checkpoint_file`, without prefixes `module.`.

    Raises:
        ValueError: It has anything but named tensors.
    """
    state_dict = checkpoint
    for key in ('state_dict', 'model'):
        if isinstance(state_dict, Mapping) and isinstance(state_dict.get(key), Mapping):
            state_dict = state_dict[key]
    if not isinstance(state_dict, Mapping) or not state_dict:
        raise ValueError(
            f'Expected a checkpoint of named tensors, got {type(state_dict).__name__}. '
            'Is this the right file?'
        )
    wrong = [key for key, value in state_dict.items() if not _is_named_tensor(key, value)]
    if wrong:
        raise ValueError(f'Expected a checkpoint of named tensors, but {wrong[:3]} are none.')
    return {name.removeprefix('module.'): tensor for name, tensor in state_dict.items()}


def _is_named_tensor(key, value) -> bool:
    is_tensor = isinstance(key, str) and isinstance(value, torch.Tensor)
    return is_tensor and value.layout is torch.strided and not value.is_meta


def save_safetensors(state_dict, path, metadata=None) -> None:
    """Write a state dict, and metadata as text, to a `.safetensors` file, atomically."""
    metadata = {str(key): str(value) for key, value in (metadata or {}).items()}
    with atomic_path(path) as temporary:
        try:
            safetensors.torch.save_file(_unshared(state_dict), str(temporary), metadata=metadata)
        except SafetensorError as error:
            raise OSError(f'{path} could not be written: {error}') from error


def save_checkpoint(state_dict, path, metadata=None) -> None:
    """Write a state dict to a `.safetensors`, `.pth` or `.pt` file, atomically.

    Memory-mapped tensors are not copied to memory. A `.pth` file with `metadata` holds
    `{'state_dict': ..., 'meta': ...}`, one without only the tensors.
    """
    if Path(path).suffix not in SUFFIXES:
        raise ValueError(f'{path} should end in one of {", ".join(SUFFIXES)}.')
    if Path(path).suffix == '.safetensors':
        return save_safetensors(state_dict, path, metadata)
    content = _unshared(state_dict)
    if metadata is not None:
        content = {'state_dict': content, 'meta': dict(metadata)}
    with atomic_path(path) as temporary:
        try:
            torch.save(content, str(temporary))
        except RuntimeError as error:  # PyTorch's error for a full disk
            reason = ' '.join(str(error).split())[:200]
            raise OSError(f'{path} could not be written: {reason}') from error


def _unshared(state_dict) -> dict:
    """Contiguous tensors on the CPU that share no memory, unlike tied weights and views."""
    tensors, storages = {}, set()
    for name, tensor in state_dict.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage()
        if storage.data_ptr() in storages or storage.nbytes() != tensor.nbytes:
            tensor = tensor.clone()
        storages.add(tensor.untyped_storage().data_ptr())
        tensors[name] = tensor
    return tensors


def _to_device(state_dict, map_location) -> dict:
    if not isinstance(map_location, (str, torch.device)):
        return state_dict
    return {key: value.to(map_location) for key, value in state_dict.items()}


def _load_safetensors(file, map_location):
    try:
        with safetensors.safe_open(str(file), framework='pt') as reader:
            meta = dict(reader.metadata() or {})
            state_dict = from_int8({key: reader.get_tensor(key) for key in reader.keys()})
    except (SafetensorError, OSError, UnicodeDecodeError) as error:
        _check_disk(file, error)
        raise ValueError(_explain(file, error)) from error
    return {'state_dict': _to_device(state_dict, map_location), 'meta': meta}


def _check_disk(file, error) -> None:
    """Raise an `OSError` again, with the file's name, if it is of the disk, not of the content."""
    if isinstance(error, OSError) and error.errno in _DISK:
        raise OSError(error.errno, error.strerror, str(file)) from error


def _explain(file, error) -> str:
    with open(file, 'rb') as stream:
        start = stream.read(512).lstrip()
    text = str(error)
    if not start:
        return f'{file} is empty. Fetch or write it again.'
    is_archive = start.startswith(b'PK')  # as of torch.save
    if is_archive and file.suffix == '.safetensors':
        return f'{file} is no safetensors file: if torch.save wrote it, call it .pth again.'
    if start[:1] == b'<':
        return (
            f'{file} is a web page, not a checkpoint. Download it again, from a link to the '
            'file itself.'
        )
    problem = None if is_archive else describe_wrong_content(start)
    if problem:
        return f'{file} is {problem}.'
    refused = re.search(r'GLOBAL ([\w.]+)|(a checkpoint may not refer to .*)', text)
    if refused:
        return (
            f'{file} holds more than tensors and the state of MMEngine: '
            f'{refused[2] or "it asks for " + refused[1]}. It was refused and nothing in it was '
            "run. If you trust where it comes from, save its 'state_dict' alone to a new file and "
            'load that.'
        )
    if start[:40].isascii() and start[:40].decode().isprintable():
        return f'{file} holds text, not tensors: {start[:40].decode()!r}. Fetch it again.'
    # without PyTorch's advice to load without `weights_only`
    text = text.rpartition('WeightsUnpickler error: ')[2].partition('Check the documentation')[0]
    reason = ' '.join(text.split())[:200]
    return (
        f'{file} is no readable checkpoint ({type(error).__name__}: {reason}). It is broken or '
        'was not downloaded completely: fetch it again.'
    )


# MMEngine logs what follows 'load_from_' in the name as the backend
def load_from_mmovsam(filename, map_location=None):
    """`load_checkpoint_file` as a loader of MMEngine."""
    return load_checkpoint_file(filename, map_location)


load_from_mmovsam.weights_only = True
# regular expressions, beside MMEngine's own schemes such as plain https://
_LOCAL_SAFETENSORS = r'(?!\w{2,}://).*\.safetensors$'
_SCHEMES = [SCHEME, 'hf://', 'open_clip://', f'https?://[^{PART}]*{PART}', _LOCAL_SAFETENSORS]
CheckpointLoader.register_scheme(_SCHEMES, load_from_mmovsam, force=True)
