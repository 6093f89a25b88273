"""The page as a server of its own, within limits."""

from __future__ import annotations

import contextlib
import hmac
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..apis import OVSAMPredictor
from ..apis.name_encoder import NameEncoder
from .layout import gr
from .page import Page
from .session import Session
from .session_store import RESTING, SessionStore

SWEEP_SECONDS = 60.0
UPLOAD_SECONDS = 600.0  # by then an uploaded file has been read, or never will be


@dataclass(frozen=True)
class Limits:
    """What the page bears.

    Raises:
        ValueError: A size is not positive.
    """

    max_file_size: int = 20 * 2**20
    """Of an uploaded file, in bytes."""
    max_pixels: int = 64 * 10**6
    """Of a picture."""
    max_sessions: int = 16
    """Users at a time, see `SessionStore`."""
    forget_after: float = 3600.0
    """Seconds, see `SessionStore`."""

    def __post_init__(self) -> None:
        for name in ('max_file_size', 'max_pixels'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} must be at least 1, not {getattr(self, name)}.')


@contextlib.contextmanager
def serving(
    predictor: OVSAMPredictor,
    name_encoder: NameEncoder,
    limits: Limits = Limits(),
    host: str = '127.0.0.1',
    port: int | None = None,
    examples: Mapping[str, np.ndarray] | None = None,
    password: str | None = None,
) -> Iterator[str]:
    """Serve the page for as long as the block runs; one page at a time in a process.

    Nothing is fetched from any other server, nor told to one. Uploaded files lie in a folder of
    the page's own until they are read; it is removed at the end.

    Args:
        predictor: Each session has a fork of it.
        name_encoder: Of the same model.
        limits: What the page bears.
        host: Address to listen on. The default is reached from this machine only.
        port: Port to listen on; None for a free one from 7860 on.
        examples: Pictures to choose from, see `Page`.
        password: What everybody has to know who opens the page; None if they need none. Any user
            name goes with it.

    Yields:
        The page's address.

    Raises:
        OSError: The port is taken, or the address is not of this machine.
        ValueError: A limit leaves no session, or the password is empty.
    """
    if password == '':
        raise ValueError('The password is empty: give one of at least one character.')
    try:  # Gradio would try an address of another machine for ever
        socket.create_server((host, port or 0)).close()
    except OSError as error:
        raise OSError(
            f'Cannot listen on {host}, port {port or "any"}: {error.strerror}. Choose another '
            'address or port.'
        ) from error
    sessions = SessionStore(
        lambda: Session(predictor.fork(), name_encoder), limits.max_sessions, limits.forget_after
    )
    page = Page(
        sessions,
        predictor.vocabulary,
        name_encoder.max_names,
        limits.max_pixels,
        limits.max_file_size,
        {title: built.names for title, built in name_encoder.built.items()},
        examples,
        predictor.value_range,
    )
    ended = threading.Event()
    with tempfile.TemporaryDirectory(prefix='mmovsam-web-') as folder:
        # Gradio asks for it with every file; its default is one folder for all users of a machine.
        os.environ['GRADIO_TEMP_DIR'] = folder
        blocks = page.layout()
        try:
            _, url, _ = blocks.launch(
                server_name=host,
                server_port=port,
                auth=password and (lambda _, given: _is_same(given, password)),
                auth_message='Any user name, and the password of this page.',
                max_file_size=limits.max_file_size,
                state_session_capacity=(1 + RESTING) * limits.max_sessions,
                css_paths=Path(__file__).parent / 'page.css',
                theme=gr.themes.Default(  # fonts of the system, so that none is fetched
                    primary_hue='blue',
                    font=['system-ui', 'sans-serif'],
                    font_mono=['ui-monospace', 'monospace'],
                ),
                prevent_thread_lock=True,
                quiet=True,
                share=False,
                run_history=False,
                enable_monitoring=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                footer_links=[],
            )
            threading.Thread(target=_sweep, args=(sessions, folder, ended), daemon=True).start()
            yield url
        finally:
            ended.set()
            blocks.close(verbose=False)
            os.environ.pop('GRADIO_TEMP_DIR', None)


def _is_same(given: str, password: str) -> bool:
    """In a time that does not tell how much of it was right."""
    return hmac.compare_digest(given.encode(), password.encode())


def _sweep(sessions: SessionStore, folder: str, ended: threading.Event) -> None:
    """Drop what nobody uses any more, until the page ends."""
    while not ended.wait(min(SWEEP_SECONDS, sessions.forget_after)):
        sessions.drop_idle()
        remove_old_files(folder, UPLOAD_SECONDS)


def remove_old_files(folder: str | Path, age: float) -> None:
    """Remove what has not changed for `age` seconds, such as broken uploads, and empty folders."""
    latest = time.time() - age
    for path in sorted(Path(folder).rglob('*'), reverse=True):  # a folder after its files
        with contextlib.suppress(OSError):  # just read, or not empty
            if path.stat().st_mtime < latest:
                path.rmdir() if path.is_dir() else path.unlink()
