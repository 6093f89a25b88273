"""tools/convert_checkpoint.py, from a folder that is not the checkout."""

from pathlib import Path

import pytest
import reference
import torch

from mmovsam.checkpoints import load_checkpoint_file

CONFIG = f"""
custom_imports = dict(imports=['mmovsam'])
default_scope = 'mmdet'
model = dict(
    type='OVSAM',
    backbone={reference.SAM_TINY_ENCODER},
    prompt_encoder=dict(type='SAMPromptEncoder', image_size=256),
    head=dict(
        type='CLIP2SAMHead', embed_dim=None, mask_decoder=dict(num_masks=4, with_iou=True)
    ),
)
"""


@pytest.fixture
def run(tmp_path, monkeypatch, run_tool):
    """`run('--sam sam.pth')`: the exit status and what was printed."""
    monkeypatch.chdir(tmp_path)
    Path('sam_tiny.py').write_text(CONFIG)
    torch.save(reference.weights('sam_tiny'), 'sam.pth')

    def run(line):
        status, out, err = run_tool('convert_checkpoint.py', *line.split())
        return status, out + err

    return run


def test_sam_goes_there_and_back_and_gets_another_image_size(run):
    line = '--sam sam.pth --config sam_tiny.py --out'
    status, printed = run(f'{line} model.safetensors')
    assert status == 0 and '--sam sam.pth: 202 tensors' in printed
    status, printed = run('--to-released model.safetensors --out back')
    assert status == 0 and '202 tensors in back/sam_model.pth' in printed
    assert (
        load_checkpoint_file('back/sam_model.pth').keys() == load_checkpoint_file('sam.pth').keys()
    )
    size = 'model.backbone.image_size=128 model.prompt_encoder.image_size=128'
    status, printed = run(f'{line} out.pth --cfg-options {size}')
    assert status == 0 and 'resampled' in printed
    assert load_checkpoint_file('out.pth')['state_dict']['backbone.pos_embed'].shape[1:3] == (8, 8)


def test_mistakes_are_told_and_nothing_is_written(run):
    torch.save({**load_checkpoint_file('sam.pth'), 'strange.weight': torch.ones(2)}, 'strange.pth')
    strange = '--sam strange.pth --config sam_tiny.py'
    choice = '--clip --sam --sam2clip --clip2sam, or --to-released'
    for line, messages in [
        (strange, ['unexpected: strange.weight', '--allow-unexpected']),
        ('', [choice]),
        ('--sam sam.pth --to-released a.pth', [choice]),
        ('--sam nothing.pth', ['nothing.pth does not exist']),
    ]:
        status, printed = run(f'{line} --out out.pth')
        assert status == 2 and all(message in printed for message in messages)
        assert not Path('out.pth').exists()
    status, printed = run('--sam sam.pth --config sam_tiny.py --out ./sam.pth')
    assert status == 2 and 'sam.pth is read, and would be replaced' in printed
    assert run(f'{strange} --out out.pth --allow-unexpected strange.')[0] == 0
