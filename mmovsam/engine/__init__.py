"""What surrounds a training: loops, hooks, and what the command lines share."""

from . import hooks, loops, seeding, strategies  # noqa: F401
