"""Files that are either whole or not there."""

import contextlib
import os
import tempfile
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path):
    """A temporary name beside ``path`` that becomes ``path`` when the block ends well.

    Args:
        path (str | Path): File to write; its folder is made if it is missing.

    Yields:
        Path: Where to write. It is renamed to ``path`` at the end and removed if the block
        raises, so that ``path`` never holds half a file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f'.{path.name}.', suffix='.tmp', dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path, data) -> None:
    """Write a whole file at once.

    Args:
        path (str | Path): File to write.
        data (bytes | str): Its content; text is written as UTF-8.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
