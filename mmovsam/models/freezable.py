"""Parts that may be frozen."""

from __future__ import annotations

from mmengine.model import BaseModule


class Freezable(BaseModule):
    """A module that, once it is frozen, has no gradients and stays in eval mode."""

    frozen = False

    def freeze(self, frozen: bool) -> None:
        """Freeze the module as it is now, if it shall be."""
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Freezable:
        return super().train(mode and not self.frozen)
