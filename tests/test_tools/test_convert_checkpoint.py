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
    """`run(*arguments)`: the exit status and what was printed."""
    monkeypatch.chdir(tmp_path)
    Path('sam_tiny.py').write_text(CONFIG)
    torch.save(reference.weights('sam_tiny'), 'sam.pth')

    def run(*arguments):
        status, out, err = run_tool('convert_checkpoint.py', *arguments)
        return status, out + err

    return run


def test_sam_goes_there_and_back(run):
    arguments = ['--sam', 'sam.pth', '--config', 'sam_tiny.py', '--out', 'model.safetensors']
    status, printed = run(*arguments)
    assert status == 0
    assert '--sam sam.pth: 202 tensors' in printed
    status, printed = run('--to-released', 'model.safetensors', '--out', 'back')
    assert status == 0 and '202 tensors in back/sam_model.pth' in printed
    before, after = load_checkpoint_file('sam.pth'), load_checkpoint_file('back/sam_model.pth')
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_image_size_is_an_option(run):
    options = ['model.backbone.image_size=128', 'model.prompt_encoder.image_size=128']
    arguments = ['--sam', 'sam.pth', '--config', 'sam_tiny.py', '--out', 'out.pth']
    status, printed = run(*arguments, '--cfg-options', *options)
    assert status == 0 and 'resampled' in printed
    assert load_checkpoint_file('out.pth')['state_dict']['backbone.pos_embed'].shape[1:3] == (8, 8)


def test_default_config_is_the_full_size_ovsam(run):
    prompts = {k: v for k, v in load_checkpoint_file('sam.pth').items() if 'encoder' in k}
    torch.save({k: v for k, v in prompts.items() if 'prompt_encoder' in k}, 'prompts.pth')
    allow = ['--allow-missing', 'head.mask_decoder']
    status, printed = run('--sam', 'prompts.pth', '--out', 'out.pth', *allow)
    assert status == 0, printed
    assert 'neck.* (86 tensors) comes with --sam2clip' in printed


def test_problem_is_printed_with_the_report_and_nothing_is_written(run):
    tensors = dict(load_checkpoint_file('sam.pth'))
    tensors['strange.weight'] = torch.ones(2)
    torch.save(tensors, 'strange.pth')
    arguments = ['--sam', 'strange.pth', '--config', 'sam_tiny.py', '--out', 'out.pth']
    status, printed = run(*arguments)
    assert status == 2
    assert 'unexpected: strange.weight' in printed and '--allow-unexpected' in printed
    assert not Path('out.pth').exists()
    assert run(*arguments, '--allow-unexpected', 'strange.')[0] == 0


@pytest.mark.parametrize('arguments', [[], ['--sam', 'sam.pth', '--to-released', 'a.pth']])
def test_either_files_or_a_checkpoint_are_needed(run, arguments):
    status, printed = run(*arguments, '--out', 'out.pth')
    assert status == 2 and '--clip --sam --sam2clip --clip2sam, or --to-released' in printed


def test_missing_file_is_named(run):
    status, printed = run('--sam', 'nothing.pth', '--out', 'out.pth')
    assert status == 2 and 'nothing.pth does not exist' in printed
