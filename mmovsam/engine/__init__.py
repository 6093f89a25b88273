"""What surrounds a training: hooks, exact resuming, and what the command lines share."""

from . import fsdp, hooks, resume  # noqa: F401
