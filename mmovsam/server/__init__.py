"""A REST server: a session for each client, prompts and names in, masks out. Needs FastAPI."""

try:
    import fastapi  # noqa: F401
except ImportError as error:
    raise ImportError("The server needs: pip install 'mmovsam[serve]'") from error

from .app import make_app
from .limits import Limits
from .served import Served
from .sessions import Sessions

__all__ = ['Limits', 'Served', 'Sessions', 'make_app']
