# For models that are not trained here: a runnable config sets `train_dataloader = None`.
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
