# The photo model with SAM's mask decoder and SAM2CLIP's neck in place of windows: what its tower
# was tuned with, and what the window decoder is compared with. Its weights do not ship.
_base_ = './ovsam_photo.py'
load_from = None
image_size = 512
channels = 256
stages = [16, 24, 48, 120, 352]
model = dict(
    window_decoder=None,
    proposal_head=None,
    crop_decoder=None,
    region_crop=0,
    neck=dict(
        type='SAM2CLIPNeck',
        in_channels=stages[1:],
        embed_dim=256,
        num_blocks=3,
        num_heads=8,
        mlp_ratio=3.0,
        window_size=16,
        out_channels=channels,
        image_size=image_size,
    ),
    high_res_neck=dict(type='HighResolutionNeck', in_channels=stages, out_channels=[16, 32, 64]),
    prompt_encoder=dict(
        type='SAMPromptEncoder', embed_dim=channels, image_size=image_size, train_masks=True
    ),
    head=dict(
        decodes_masks=True,
        use_label_token=True,
        mask_decoder=dict(
            channels=channels, num_masks=4, with_iou=True, mlp_channels=1024, high_resolution=True
        ),
    ),
)
