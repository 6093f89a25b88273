"""Around a training: hooks, exact resuming, several processes, command lines."""

from . import fsdp, hooks, resume  # noqa: F401
