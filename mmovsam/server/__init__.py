"""A REST server: a session for each client, prompts and names in, masks out. Needs FastAPI."""

from .app import Served, make_app
from .limits import Limits
from .sessions import Sessions

__all__ = ['Limits', 'Served', 'Sessions', 'make_app']
