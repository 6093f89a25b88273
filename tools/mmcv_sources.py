"""Sources of mmcv, changed so that they compile faster and with a current PyTorch.

Each change looks for what it expects first and says what is missing otherwise. Standard library
only.
"""

import re
import tarfile
from pathlib import Path

SOURCES = Path('mmcv', 'ops', 'csrc', 'pytorch')


class SourceError(Exception):
    """The sources are not what a change expects."""


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a source package; returns its folder."""
    with tarfile.open(archive) as stream:
        stream.extractall(folder, **({'filter': 'data'} if hasattr(tarfile, 'data_filter') else {}))
    (sources,) = folder.iterdir()
    return sources


def unite(sources: Path, number: int) -> int:
    """Join the C++ files of unpacked sources, each of a few taking its share of them.

    Files of CUDA define the same names and stay apart.

    Args:
        sources: The folder of `setup.py`.
        number: How many files there are afterwards, at most.

    Returns:
        How many there are.

    Raises:
        SourceError: The sources are laid out in another way.
    """
    folder = sources / SOURCES
    files = [path for where in (folder, folder / 'cpu') for path in sorted(where.glob('*.cpp'))]
    if len(files) < 2:
        raise SourceError(f'{SOURCES} has {len(files)} C++ files, and many were expected.')
    number = min(number, len(files))
    for index in range(number):
        united = folder / f'united_{index}.cpp'
        if united.exists():
            raise SourceError(f'{SOURCES / united.name} exists already.')
        with united.open('w', encoding='utf-8') as stream:
            for path in files[index::number]:
                part = path.rename(path.with_name(f'{path.name}.part'))  # which no pattern finds
                stream.write(f'#include "{part.relative_to(folder).as_posix()}"\n')
    return number


def use_standard_of(sources: Path, torch_folder: str) -> None:
    """Let mmcv's setup script ask for the C++ standard that PyTorch's headers want.

    Args:
        sources: The folder of `setup.py`.
        torch_folder: Of the installed PyTorch, whose header says what it wants.

    Raises:
        SourceError: The setup script does not name a standard where it was expected.
    """
    header = Path(torch_folder, 'include', 'torch', 'csrc', 'api', 'include', 'torch', 'all.h')
    text = header.read_text(encoding='utf-8') if header.is_file() else ''
    wanted = re.search(r'C\+\+(\d\d) or later', text)
    if wanted is None or wanted[1] == '17':
        return
    script = sources / 'setup.py'
    text, count = re.subn(r"(?<=['/-]std[=:]c\+\+)17", wanted[1], script.read_text('utf-8'))
    if not count:
        raise SourceError(f'PyTorch wants C++{wanted[1]}, and the setup script names no C++17.')
    script.write_text(text, encoding='utf-8')
