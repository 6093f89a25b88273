"""What modules compute from their weights alone."""

import torch
from torch import Tensor, nn


class Derived(nn.Module):
    """A module that works with tensors derived from its weights.

    They are derived in each call, as weights may change; after `keep_derived` only once.
    """

    num_kept = 0

    def derive(self) -> tuple[Tensor, ...]:
        """The tensors, from the weights as they are."""
        raise NotImplementedError

    def derived(self) -> tuple[Tensor, ...]:
        """The tensors of `derive`."""
        if not self.num_kept:
            return self.derive()
        return tuple(self.get_buffer(f'derived{i}') for i in range(self.num_kept))

    @torch.no_grad()
    def keep_derived(self) -> None:
        """Derive the tensors for good: a change of the weights is not seen any more."""
        kept = self.derive()
        for index, tensor in enumerate(kept):
            self.register_buffer(f'derived{index}', tensor, persistent=False)
        self.num_kept = len(kept)
