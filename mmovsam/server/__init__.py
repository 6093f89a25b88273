"""A REST server and its page: prompts and names in, masks out. Needs FastAPI (extra `serve`)."""

try:
    import fastapi  # noqa: F401
except ImportError as error:
    raise ImportError("The server needs: pip install 'mmovsam[serve]'") from error

from .app import make_app
from .limits import Limits
from .page import add_page
from .served import Served
from .sessions import Sessions

__all__ = ['Limits', 'Served', 'Sessions', 'add_page', 'make_app']
