"""What surrounds a training: hooks, exact resuming, and what the command lines share."""

from . import hooks, resume, strategies  # noqa: F401
