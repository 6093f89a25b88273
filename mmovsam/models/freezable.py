"""Modules that can be frozen."""

from __future__ import annotations

from mmengine.model import BaseModule


class Freezable(BaseModule):
    """A module that can be frozen: without gradients and always in eval mode."""

    frozen = False

    def freeze(self, frozen: bool) -> None:
        """Freeze the module for good, if `frozen`."""
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Freezable:
        return super().train(mode and not self.frozen)
