"""A REST server with a web page. Needs FastAPI (extra `serve`)."""

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
