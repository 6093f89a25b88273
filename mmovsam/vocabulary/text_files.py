"""Text files that people write: one entry a line."""

from os import PathLike
from pathlib import Path


def read_lines(path: str | PathLike) -> list[str]:
    """The lines of a text file that are not blank, without white space around them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not UTF-8.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no text file {path} (the working folder is {Path.cwd()})'
        )
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not UTF-8 (byte {error.start}): save it as UTF-8') from error
    return [line.strip() for line in text.split('\n') if line.strip()]
