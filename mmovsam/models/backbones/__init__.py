"""Image towers: CLIP's and SAM's."""

from .openclip_backbone import OpenCLIPBackbone, clip_model_config
from .sam_image_encoder import SAMImageEncoder
from .timm_backbone import TimmBackbone

__all__ = ['OpenCLIPBackbone', 'SAMImageEncoder', 'TimmBackbone', 'clip_model_config']
