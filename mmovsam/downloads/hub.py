"""Files of the Hugging Face hub, in its own cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .http import is_reachable


def hub_file(
    repository: str, filenames: Sequence[str], revision: str | None = None
) -> tuple[Path, str | None]:
    """The first of some files that a repository has; downloaded if it is not there yet.

    huggingface_hub asks a server that cannot be reached for half a minute; here it is asked once,
    and without an answer the cache has to do.

    Args:
        repository: `OWNER/NAME`.
        filenames: In the order of preference.
        revision: Commit, branch or tag; None for the newest.

    Returns:
        The file, and the commit that it is of where that is known.

    Raises:
        OSError: There is none of them, or the hub cannot be reached and the cache has none.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    reason = is_reachable(constants.ENDPOINT)
    for filename in filenames:
        try:
            path = Path(
                hf_hub_download(
                    repository, filename, revision=revision, local_files_only=reason is not None
                )
            )
        except LocalEntryNotFoundError as error:
            if filename == filenames[-1]:
                raise error from reason or error.__cause__
        except EntryNotFoundError:
            if filename == filenames[-1]:
                raise
        else:
            folders = path.parts[: -len(Path(filename).parts)]  # .../snapshots/COMMIT
            return path, folders[-1] if folders[-2:-1] == ('snapshots',) else None
    raise ValueError('hub_file needs the name of a file')
