"""The transformer block of SAM's image encoder: window or global attention, relative position."""

from collections.abc import Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import LayerNorm2d, MLPBlock
from .tensors import in_parts

# Chunk sizes that keep memory low and fit a CPU's cache:
BIASES_AT_ONCE = 2**22
POSITIONS_AT_ONCE = 2**10
BIASES_AT_ONCE_ON_GPU = 2**28
"""One image in a global block of SAM's ViT-H: a gigabyte in float32."""


def resample_rel_pos(table: Tensor, size: int) -> Tensor:
    """Resample relative positions `(2 * S - 1, C)`, one for each distance, to another side S."""
    length = 2 * size - 1
    if table.shape[0] == length:
        return table
    return F.interpolate(table.T[None].float(), size=length, mode='linear')[0].T.to(table.dtype)


def resample_abs_pos(pos_embed: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample an absolute position embedding `(1, H, W, C)` to `(1, *size, C)`, bicubic."""
    if tuple(pos_embed.shape[1:3]) == tuple(size):
        return pos_embed
    maps = pos_embed.permute(0, 3, 1, 2).float()
    maps = F.interpolate(maps, size=size, mode='bicubic', align_corners=False)
    return maps.permute(0, 2, 3, 1).to(pos_embed.dtype)


def sam_neck(in_channels: int, out_channels: int) -> nn.Sequential:
    """The neck of SAM's image encoder, `(B, in, H, W)` to `(B, out, H, W)`."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        LayerNorm2d(out_channels),
        nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
        LayerNorm2d(out_channels),
    )


class RelPosAttention(nn.Module):
    """Self-attention over a grid with decomposed relative position (MViTv2, SAM).

    The bias of a pair of positions is `q . (R_h[dy] + R_w[dx])` with the unscaled query.

    Args:
        channels: C.
        num_heads: Heads; C must be divisible by it.
        input_size: `(H, W)` of the grid, or of a window of it.
    """

    def __init__(self, channels: int, num_heads: int, input_size: tuple[int, int]) -> None:
        super().__init__()
        self.num_heads = num_heads
        head_channels = channels // num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * input_size[0] - 1, head_channels))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * input_size[1] - 1, head_channels))

    def _bias(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Biases `(B, heads, H, W, H or W)` along each axis, of queries `(B, heads, H, W, c)`."""
        height, width = query.shape[2:4]
        along_h = torch.arange(height, device=query.device)
        along_w = torch.arange(width, device=query.device)
        rel_h = self.rel_pos_h[along_h[:, None] - along_h[None] + height - 1]
        rel_w = self.rel_pos_w[along_w[:, None] - along_w[None] + width - 1]
        return (
            torch.einsum('bnhwc,hkc->bnhwk', query, rel_h.to(query)),
            torch.einsum('bnhwc,wkc->bnhwk', query, rel_w.to(query)),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(B, H, W, C)` to the same shape; H and W as given to the constructor."""
        batch, height, width, channels = x.shape
        qkv = self.qkv(x).reshape(batch, height * width, 3, self.num_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        query = query.unflatten(2, (height, width))
        bias_h, bias_w = self._bias(query)
        attend = _attend if in_parts(x) else _attend_fused
        x = attend(query, key, value, bias_h, bias_w).reshape(batch, height, width, channels)
        return self.proj(x)


def _attend(query: Tensor, key: Tensor, value: Tensor, bias_h: Tensor, bias_w: Tensor) -> Tensor:
    """Attention of `(B, heads, H, W, c)` to `(B, heads, H * W, c)` with the biases of both axes.

    A few rows of an image at a time: on a CPU this is faster than PyTorch's fused attention, which
    reads the full bias. The result is `(B, H * W, heads, c)`.
    """
    batch, heads, height, width, channels = query.shape
    attended = query.new_empty(batch, heads, height * width, channels)
    chunks = _chunks(heads, height, width * height * width)
    for image, (head, rows) in product(range(batch), chunks):
        q = query[image, head, rows] * channels**-0.5
        logits = q.flatten(1, 2) @ key[image, head].mT
        biased = logits.view(*q.shape[:-1], height, width)
        biased += bias_h[image, head, rows, :, :, None]
        biased += bias_w[image, head, rows, :, None]
        positions = slice(rows.start * width, rows.stop * width)
        attended[image, head, positions] = logits.softmax(-1) @ value[image, head]
    return attended.transpose(1, 2)


def _attend_fused(
    query: Tensor, key: Tensor, value: Tensor, bias_h: Tensor, bias_w: Tensor
) -> Tensor:
    """As `_attend`, by PyTorch's fused attention."""
    batch, heads, height, width = query.shape[:4]
    # The bias of a global block would take a gigabyte: some images, or rows of one, at a time.
    # The backward pass of a split joins gradients once; that of slices would add up full ones.
    size = heads * width * height * width  # biases of a row
    limit = BIASES_AT_ONCE if query.device.type == 'cpu' else BIASES_AT_ONCE_ON_GPU
    images, rows = max(1, limit // (height * size)), max(1, limit // size)
    attended = []
    for k, v, *by_rows in zip(*(t.split(images) for t in (key, value, query, bias_h, bias_w))):
        for q, along_h, along_w in zip(*(t.split(rows, dim=2) for t in by_rows)):
            bias = (along_h[..., :, None] + along_w[..., None, :]).flatten(4).flatten(2, 3)
            x = F.scaled_dot_product_attention(q.flatten(2, 3), k, v, attn_mask=bias)
            attended.append(x.transpose(1, 2).flatten(0, 1))
    return torch.cat(attended).reshape(batch, height * width, heads, -1)


def _chunks(heads: int, rows: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Slices of heads, or rows of one, whose biases, `size` a row, fit into `BIASES_AT_ONCE`."""
    head_step, row_step = max(1, BIASES_AT_ONCE // (rows * size)), max(1, BIASES_AT_ONCE // size)
    for head in range(0, heads, head_step):
        for row in range(0, rows, row_step):
            yield slice(head, head + head_step), slice(row, min(row + row_step, rows))


class ViTBlock(nn.Module):
    """One pre-norm block of SAM's ViT over a `(B, H, W, C)` grid.

    Args:
        channels: C.
        num_heads: Heads.
        mlp_ratio: Hidden width of the MLP, in units of C.
        window_size: Side of the attention windows; 0 attends over the whole grid.
        input_size: `(H, W)` of the grid, which is zero-padded to a multiple of the window.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        window_size: int = 0,
        input_size: tuple[int, int] = (64, 64),
    ) -> None:
        super().__init__()
        self.window_size = window_size
        extent = (window_size, window_size) if window_size else tuple(input_size)
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.attn = RelPosAttention(channels, num_heads, extent)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = MLPBlock(channels, int(channels * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        attend = self._attend_in_windows if self.window_size else self.attn
        x = x + attend(self.norm1(x))
        if not in_parts(x):
            return x + self.mlp(self.norm2(x))
        x = x.contiguous()
        for chunk in x.view(-1, x.shape[-1]).split(POSITIONS_AT_ONCE):
            chunk += self.mlp(self.norm2(chunk))
        return x

    def _attend_in_windows(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        side = self.window_size
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        x = x.reshape(batch, rows, side, columns, side, channels).transpose(2, 3)
        x = x.reshape(-1, side, side, channels)
        if in_parts(x):
            for chunk in x.split(max(1, POSITIONS_AT_ONCE // side**2)):
                chunk.copy_(self.attn(chunk))
        else:
            x = self.attn(x)
        x = x.reshape(batch, rows, columns, side, side, channels).transpose(2, 3)
        x = x.reshape(batch, rows * side, columns * side, channels)
        return x[:, :height, :width]
