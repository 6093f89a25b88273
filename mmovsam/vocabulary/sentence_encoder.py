"""A small BERT that makes one embedding of a sentence, and its compact file form."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SentenceEncoder(nn.Module):
    """BERT (Devlin et al., 2019) with mean pooling (Reimers and Gurevych, 2019), for inference.

    The defaults are those of all-MiniLM-L6-v2.

    Args:
        num_tokens: Token ids.
        channels: Width C of tokens and embeddings.
        num_layers: Transformer layers.
        num_heads: Attention heads.
        mlp_channels: Width between the two layers of an MLP.
        context_length: Most tokens of a sentence.
        padding: Id of the token that fills up shorter sentences.
    """

    def __init__(
        self,
        num_tokens: int = 30522,
        channels: int = 384,
        num_layers: int = 6,
        num_heads: int = 12,
        mlp_channels: int = 1536,
        context_length: int = 128,
        padding: int = 0,
    ) -> None:
        super().__init__()
        self.padding = padding
        self.tokens = nn.Embedding(num_tokens, channels)
        self.positions = nn.Parameter(torch.zeros(context_length, channels))
        self.norm = nn.LayerNorm(channels, eps=1e-12)
        self.layers = nn.ModuleList(
            EncoderLayer(channels, num_heads, mlp_channels) for _ in range(num_layers)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Embeddings of sentences.

        Args:
            tokens: `(B, L)` int64, each row filled up with `padding` at its end.

        Returns:
            `(B, C)`, L2 normalized.
        """
        lengths = (tokens != self.padding).sum(1)
        order = lengths.argsort()
        pooled = [
            self._pooled(tokens[rows, : int(lengths[rows[-1]])]) for rows in order.split(32)
        ]  # alike in length, so that little padding is computed
        return F.normalize(torch.cat(pooled)[order.argsort()], dim=-1)

    def _pooled(self, tokens: Tensor) -> Tensor:
        real = tokens != self.padding
        outputs = self.norm(self.tokens(tokens) + self.positions[: tokens.shape[1]])
        # Without padding there is no mask, which is the faster attention.
        mask = None if bool(real.all()) else real[:, None, None]
        for layer in self.layers:
            outputs = layer(outputs, mask)
        weights = real.to(outputs) / real.sum(1, keepdim=True)
        return (outputs * weights[..., None]).sum(1)


class EncoderLayer(nn.Module):
    """Self-attention and an MLP, each normalized after its residual connection.

    Args:
        channels: Width C.
        num_heads: Attention heads.
        mlp_channels: Width between the two layers of the MLP.
    """

    def __init__(self, channels: int, num_heads: int, mlp_channels: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = nn.Linear(channels, channels)
        self.attention_norm = nn.LayerNorm(channels, eps=1e-12)
        self.mlp_in = nn.Linear(channels, mlp_channels)
        self.mlp_out = nn.Linear(mlp_channels, channels)
        self.mlp_norm = nn.LayerNorm(channels, eps=1e-12)

    def forward(self, inputs: Tensor, mask: Tensor | None) -> Tensor:
        """One layer.

        Args:
            inputs: `(B, L, C)`.
            mask: `(B, 1, 1, L)` bool, True where a token may be attended to; None for all.

        Returns:
            `(B, L, C)`.
        """
        qkv = self.qkv(inputs).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(*qkv, attn_mask=mask)
        hidden = self.attention_norm(inputs + self.out(attended.transpose(1, 2).flatten(2)))
        return self.mlp_norm(hidden + self.mlp_out(F.gelu(self.mlp_in(hidden))))
