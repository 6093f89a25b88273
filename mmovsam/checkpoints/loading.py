"""Reading checkpoints as data: nothing in a file is ever run.

Importing this module makes MMEngine read local files through `load_checkpoint_file`, so
that `load_from`, `resume` and `init_cfg` take `.pth`, `.safetensors` and
`mmovsam://NAME` alike.
"""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from mmengine.runner import CheckpointLoader

from ..fileio import atomic_path

SCHEME = 'mmovsam://'
SUFFIXES = ('.pth', '.pt', '.safetensors')
WEIGHTS_DIR = Path(__file__).resolve().parent.parent / 'weights'


def resolve_path(path) -> Path:
    """The file that a checkpoint name stands for.

    Args:
        path (str | Path): A file name, or `mmovsam://NAME` for weights of this package.

    Returns:
        Path: An existing file.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    name = str(path)
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
        what = 'is a folder' if resolved.is_dir() else 'does not exist'
        raise FileNotFoundError(f'Checkpoint {name} {what}. {remedy}')
    return resolved


def load_checkpoint_file(path, map_location='cpu'):
    """Read a checkpoint that holds tensors and, at most, MMEngine's own state.

    Args:
        path (str | Path): A `.pth` or `.pt` file of `torch.save`, a `.safetensors` file,
            or `mmovsam://NAME`.
        map_location (str | torch.device | callable | None): As in `torch.load`.

    Returns:
        dict | Tensor: What the file holds; of a `.safetensors` file
        `{'state_dict': {name: Tensor}, 'meta': {name: str}}`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is broken, is no checkpoint, or asks for code to be run.
    """
    file = resolve_path(path)
    if file.suffix == '.safetensors':
        return _load_safetensors(file, map_location)
    try:
        checkpoint = torch.load(
            str(file),
            map_location=map_location,
            weights_only=True,
            mmap=map_location == 'cpu' and zipfile.is_zipfile(file),  # not the format before 1.6
        )
    except Exception as error:  # torch raises whatever the broken bytes led to
        raise ValueError(_explain(file, error)) from error
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
        # Runner.resume executes a config that it finds under this key (today's MMEngine writes
        # it as text under 'cfg', and does not run that).
        checkpoint['meta'].pop('config', None)
    return checkpoint


def state_dict_of(checkpoint) -> dict:
    """The named tensors of a checkpoint, wrapped in `state_dict` (or `model`) or not.

    Args:
        checkpoint (dict): What `load_checkpoint_file` returned.

    Returns:
        dict[str, Tensor]: Names and tensors.

    Raises:
        ValueError: If it holds anything else.
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
    wrong = [key for key, value in state_dict.items() if not isinstance(value, torch.Tensor)]
    if wrong:
        raise ValueError(f'Expected a checkpoint of named tensors, but {wrong[:3]} are none.')
    return dict(state_dict)


def save_safetensors(state_dict, path, metadata=None) -> None:
    """Write named tensors to a `.safetensors` file, whole or not at all.

    Args:
        state_dict (dict[str, Tensor]): Names and tensors.
        path (str | Path): File to write.
        metadata (dict | None): Notes about the weights; values are stored as text.
    """
    from safetensors.torch import save_file

    # clone: tensors that share memory (tied weights, views) are no valid safetensors
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in state_dict.items()}
    notes = {str(k): str(v) for k, v in (metadata or {}).items()}
    with atomic_path(path) as temporary:
        save_file(tensors, str(temporary), metadata=notes)


def _load_safetensors(file, map_location):
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(file), framework='pt') as reader:
            meta = dict(reader.metadata() or {})
            state_dict = {key: reader.get_tensor(key) for key in reader.keys()}
    except (SafetensorError, OSError, UnicodeDecodeError) as error:
        raise ValueError(
            f'{file} is no readable safetensors file ({error}). It is broken or was not '
            'downloaded completely: fetch it again.'
        ) from error
    if isinstance(map_location, (str, torch.device)):
        state_dict = {key: value.to(map_location) for key, value in state_dict.items()}
    return {'state_dict': state_dict, 'meta': meta}


def _explain(file, error) -> str:
    with open(file, 'rb') as stream:
        start = stream.read(512).lstrip()
    text = str(error)
    if not start:
        return f'{file} is empty. Fetch or write it again.'
    if start[:1] == b'<':
        return (
            f'{file} is a web page, not a checkpoint. Download it again, from a link to the '
            'file itself.'
        )
    if 'TorchScript' in text:
        return (
            f'{file} is a TorchScript program, and programs are not run here. Save its state '
            'dict to a file of its own, or let open_clip load it by its pretrained tag.'
        )
    refused = re.search(r'GLOBAL ([\w.]+)|(a checkpoint may not refer to .*)', text)
    if refused:
        return (
            f'{file} holds more than tensors and the state of MMEngine: '
            f'{refused[2] or "it asks for " + refused[1]}. It was refused and nothing in it was '
            "run. If you trust where it comes from, save its 'state_dict' alone to a new file and "
            'load that.'
        )
    reason = ' '.join(text.split())[:200]
    return (
        f'{file} is no readable checkpoint ({type(error).__name__}: {reason}). It is broken or '
        'was not downloaded completely: fetch it again.'
    )


# MMEngine prints the part of the name behind 'load_from_' as the backend.
def load_from_local(filename, map_location=None):
    """MMEngine's local files, read by `load_checkpoint_file`."""
    return load_checkpoint_file(filename, map_location)


def load_from_mmovsam(filename, map_location=None):
    """Weights of this package for MMEngine, as `mmovsam://NAME`."""
    return load_checkpoint_file(filename, map_location)


load_from_local.weights_only = load_from_mmovsam.weights_only = True
CheckpointLoader.register_scheme('', load_from_local, force=True)
CheckpointLoader.register_scheme(SCHEME, load_from_mmovsam, force=True)
