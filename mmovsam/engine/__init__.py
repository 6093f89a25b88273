"""What surrounds a training: hooks, and what the command lines share."""

from . import hooks, strategies  # noqa: F401
