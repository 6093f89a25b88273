"""Plain `torch.nn` pieces: no registry, no config."""

from .attention_pool import attention_pool_boxes, attention_pool_regions
from .batch_norm import GlobalBatchNorm2d, with_global_statistics
from .blocks import MLP, LayerNorm2d, MLPBlock
from .mask_decoder import MaskDecoder
from .prompt_maps import box_coverage, prompt_maps
from .roi_align import roi_align, roi_align_weights
from .tensors import at_least_float32, sample_masks, to_device, without_autocast
from .two_way_transformer import TwoWayTransformer
from .vit import ViTBlock, resample_abs_pos, resample_rel_pos, sam_neck

__all__ = [
    'GlobalBatchNorm2d',
    'LayerNorm2d',
    'MLP',
    'MLPBlock',
    'MaskDecoder',
    'TwoWayTransformer',
    'ViTBlock',
    'at_least_float32',
    'attention_pool_boxes',
    'attention_pool_regions',
    'box_coverage',
    'prompt_maps',
    'resample_abs_pos',
    'resample_rel_pos',
    'roi_align',
    'roi_align_weights',
    'sam_neck',
    'sample_masks',
    'to_device',
    'with_global_statistics',
    'without_autocast',
]
