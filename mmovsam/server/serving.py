"""Serving from the command line."""

from __future__ import annotations

import argparse
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from fastapi import FastAPI

from ..apis.loading import load
from ..engine.command_line import limits_of, load_predictor, password_of
from .app import make_app
from .limits import Limits
from .served import Served


def serve(
    args: argparse.Namespace,
    ports: Iterable[int],
    add_routes: Callable[[FastAPI, Served], None] | None = None,
) -> None:
    """Serve a model over HTTP until the process is stopped.

    Args:
        args: Of `add_model_arguments`, `add_network_arguments` and `add_limit_arguments`.
        ports: Candidates, of which the first free one is used.
        add_routes: Adds further routes to the application.

    Raises:
        OSError: No port is free, or the address is not of this machine.
    """
    import uvicorn

    limits = Limits(**limits_of(args))
    password = password_of(args)
    with _listen(args.host, ports) as listener:  # before a model is loaded
        predictor, name_encoder = load_predictor(args, load, cache_size=0)
        served = Served(predictor, name_encoder, limits, Path(args.config).stem, password)
        app = make_app(served)
        if add_routes:
            add_routes(app, served)
        config = uvicorn.Config(app, log_config=None, server_header=False)
        host, port = listener.getsockname()[:2]
        print(f'Serving at http://{host}:{port} (Ctrl-C ends it)', flush=True)
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, ports: Iterable[int]) -> socket.socket:
    for port in ports:
        try:
            return socket.create_server((host, port))
        except OSError as reason:
            error = reason
    raise OSError(
        f'Cannot listen on {host}, port {port}: {error.strerror}. Choose another address or port.'
    ) from error
