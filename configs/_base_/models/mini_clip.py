# The small world's CLIP, in open_clip's form.
clip = dict(
    embed_dim=256,
    vision_cfg=dict(image_size=128, layers=[1, 2, 2, 1], width=16, head_width=64),
    text_cfg=dict(context_length=18, vocab_size=49408, width=40, heads=4, layers=3),
)
