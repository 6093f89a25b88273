"""What a CLIP model looks like, in open_clip's form."""

from __future__ import annotations

import copy
from collections.abc import Mapping


def clip_model_config(model: str | Mapping) -> dict:
    """The configuration of a CLIP model in open_clip's form.

    Args:
        model: A name that open_clip knows, or a mapping with `embed_dim`, `vision_cfg`, `text_cfg`.

    Returns:
        A copy that may be changed.

    Raises:
        ValueError: Unknown name, or a mapping that lacks a part.
    """
    if isinstance(model, str):
        import open_clip

        config = open_clip.get_model_config(model)
        if config is None:
            raise ValueError(
                f'open_clip has no model {model!r}. Choose one of open_clip.list_models(), such as '
                "'RN50x16', 'convnext_base' or 'ViT-L-14', or give its configuration as a dict."
            )
        return config
    missing = {'embed_dim', 'vision_cfg', 'text_cfg'} - set(model)
    if missing:
        raise ValueError(
            f'The CLIP configuration lacks {sorted(missing)}. It needs embed_dim, vision_cfg and '
            "text_cfg, as in open_clip's model_configs/*.json."
        )
    return copy.deepcopy(dict(model))
