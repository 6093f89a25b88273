"""Image towers: CLIP's and SAM's."""

from .openclip_backbone import OpenCLIPBackbone, clip_model_config
from .sam_image_encoder import SAMImageEncoder

__all__ = ['OpenCLIPBackbone', 'SAMImageEncoder', 'clip_model_config']
