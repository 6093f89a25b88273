"""Plain `torch.nn` pieces: no registry, no config."""

from .attention_pool import attention_pool_boxes, attention_pool_regions
from .batch_norm import GlobalBatchNorm2d, with_global_statistics
from .mask_decoder import MaskDecoder
from .mlp import MLP, MLPBlock
from .norm import LayerNorm2d
from .point_sampling import sample_masks
from .precision import at_least_float32, without_autocast
from .prompt_maps import box_coverage, prompt_maps
from .roi_align import roi_align_weights
from .transfer import to_device
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
    'roi_align_weights',
    'sam_neck',
    'to_device',
    'with_global_statistics',
    'sample_masks',
    'without_autocast',
]
