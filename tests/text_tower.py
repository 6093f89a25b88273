"""A CLIP with a text tower of little more than a token embedding, for tests."""

import open_clip
import torch
from torch import nn

CLIP = dict(
    embed_dim=24,
    vision_cfg=dict(image_size=32, patch_size=16, width=64, head_width=64, layers=1),
    text_cfg=dict(context_length=20, vocab_size=49408, width=32, heads=2, layers=1),
)
TOKENIZER = open_clip.SimpleTokenizer(context_length=CLIP['text_cfg']['context_length'])


def build_clip(text_cfg=None, **changes):
    """The model with some settings changed, its weights those of seed 0."""
    torch.manual_seed(0)
    text_cfg = dict(CLIP['text_cfg'], **(text_cfg or {}))
    return open_clip.model.CLIP(**{**CLIP, 'text_cfg': text_cfg, **changes}).eval()


class LengthModel(nn.Module):
    """Embeds a text as (its length, its number of spaces), and remembers it."""

    def __init__(self):
        super().__init__()
        self.texts = []
        self.largest_batch = 0

    def tokenizer(self, texts):
        self.texts += texts
        self.largest_batch = max(self.largest_batch, len(texts))
        return torch.tensor([[len(text), text.count(' ')] for text in texts])

    def encode_text(self, tokens):
        assert not self.training
        return tokens.double()
