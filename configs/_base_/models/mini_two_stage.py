# What the small two-stage detectors share: a narrow ResNet that trains whole, and few proposals.
small_resnet = dict(
    depth=18,
    base_channels=8,
    frozen_stages=-1,
    norm_cfg=dict(requires_grad=True),
    norm_eval=False,
)
few_proposals = dict(nms_pre=400, max_per_img=200)
