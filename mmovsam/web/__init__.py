"""The page: click, and get a mask and a name. `page` needs Gradio (extra `web`), the rest not."""

from ..apis.name_encoder import NameEncoder
from .labels import LabeledObject, Prompt
from .session import Session
from .session_store import SessionStore

__all__ = ['LabeledObject', 'NameEncoder', 'Prompt', 'Session', 'SessionStore']
