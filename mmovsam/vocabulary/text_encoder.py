"""Text towers of CLIP models without their image towers, and configs of CLIP models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from os import PathLike

from torch import Tensor, nn

from ..checkpoints.loading import load_checkpoint_file, state_dict_of
from ..downloads import fetch
from .photo_text import load_photo_text

PHOTO = 'photo'  # the text model of `load_photo_text`
# open_clip always builds an image tower: the smallest one, which is deleted at once
_TINY_VISION = dict(image_size=16, patch_size=16, width=64, head_width=64, layers=1)
# entries of OpenAI's state dicts that are no weights
_NO_WEIGHTS = ('input_resolution', 'context_length', 'vocab_size')


def load_text_encoder(
    model: str | Mapping,
    checkpoint: str | PathLike | None = None,
    tokenizer: Callable[[list[str]], Tensor] | None = None,
    names: str | PathLike | None = None,
) -> tuple[nn.Module, Callable[[list[str]], Tensor]]:
    """A text model and its tokenizer, for `Vocabulary.build_classifier`.

    Args:
        model: A model name of open_clip, or a model config as in open_clip's JSON files
            (`embed_dim`, `vision_cfg`, `text_cfg`). OpenAI's weights need a name that ends in
            `-quickgelu`, or `quick_gelu=True`. Or `'photo'` for the text side of a photo model,
            which is no CLIP model, see `load_photo_text`.
        checkpoint: A file with the keys of open_clip's `CLIP` (`visual.*` is ignored and may be
            absent), or one of open_clip's pretrained tags for the named model. None for random
            weights.
        tokenizer: Texts to (B, L) tokens, if the model was not trained with open_clip's own.
        names: The file of known names, for a photo model only.

    Returns:
        `(text_model, tokenizer)`: the frozen model in eval mode with `encode_text`, and the
        tokenizer.

    Raises:
        FileNotFoundError: If the checkpoint is neither a file nor a pretrained tag.
        ValueError: If the model is unknown, or the checkpoint does not fit it.
    """
    if model == PHOTO:
        if checkpoint is None or tokenizer is not None:
            raise ValueError(f'the text model {PHOTO!r} needs a checkpoint and takes no tokenizer')
        return load_photo_text(checkpoint, names)
    if names is not None:
        raise ValueError(f'known names ({names}) are for the text model {PHOTO!r} only')
    config = clip_model_config(model)
    text_model = _build_text_model(config)
    if tokenizer is None:
        tokenizer = _build_tokenizer(model, config['text_cfg'])
    if checkpoint is not None:
        if is_tag(model, checkpoint):
            checkpoint = fetch(f'open_clip://{model}:{checkpoint}')
        _load_weights(text_model, checkpoint)
    return text_model.eval().requires_grad_(False), tokenizer


def _build_text_model(config: dict) -> nn.Module:
    from open_clip.model import CLIP, CustomTextCLIP

    config = copy.deepcopy(config)
    if 'multimodal_cfg' in config:
        raise ValueError('CoCa models have no plain text tower; choose a CLIP model')
    from_hub = 'hf_model_name' in config['text_cfg']
    if from_hub:
        config['text_cfg']['hf_model_pretrained'] = False
    custom = config.pop('custom_text', False) or from_hub
    config['vision_cfg'] = _TINY_VISION
    text_model = (CustomTextCLIP if custom else CLIP)(**config)
    del text_model.visual
    return text_model


def _build_tokenizer(model: str | Mapping, text_cfg: Mapping) -> Callable[[list[str]], Tensor]:
    import open_clip

    if isinstance(model, str):
        return open_clip.get_tokenizer(model)
    length = text_cfg.get('context_length', 77)
    if text_cfg.get('hf_tokenizer_name'):
        return open_clip.HFTokenizer(text_cfg['hf_tokenizer_name'], context_length=length)
    return open_clip.SimpleTokenizer(context_length=length)


def is_tag(model: object, checkpoint: object) -> bool:
    """Whether `checkpoint` is one of open_clip's pretrained tags for `model`."""
    if not (isinstance(model, str) and isinstance(checkpoint, str)):
        return False
    import open_clip

    return bool(open_clip.get_pretrained_cfg(model, checkpoint))


def _load_weights(text_model: nn.Module, path: str | PathLike) -> None:
    from open_clip.model import CustomTextCLIP, convert_to_custom_text_state_dict

    state_dict = state_dict_of(load_checkpoint_file(path))
    if isinstance(text_model, CustomTextCLIP):
        state_dict = convert_to_custom_text_state_dict(state_dict)
    for name in list(state_dict):
        if name in _NO_WEIGHTS or name.startswith('visual.'):
            del state_dict[name]
    try:
        text_model.load_state_dict(state_dict)
    except RuntimeError as error:
        first = '\n'.join(str(error).split('\n')[:4])
        raise ValueError(
            f'the checkpoint {path} does not fit the text side of this CLIP model: {first}'
        ) from error


def clip_model_config(model: str | Mapping) -> dict:
    """A copy of the configuration of a CLIP model in open_clip's form.

    Args:
        model: A name that open_clip knows, or a mapping with `embed_dim`, `vision_cfg`, `text_cfg`.
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
