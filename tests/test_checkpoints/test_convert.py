"""The files that people have into one checkpoint, and back."""

import open_clip
import pytest
import torch
from mmdet.registry import MODELS

from mmovsam.checkpoints import load_checkpoint_file, save_safetensors
from mmovsam.checkpoints.convert import convert, export_released
from mmovsam.checkpoints.released import FORMATS, locate

PARTS = dict(
    clip={'backbone'},
    sam={'prompt_encoder', 'head'},
    sam2clip={'neck'},
    clip2sam={'region_neck', 'head'},
)
ONES = torch.ones(3)


def same(left, right):
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name])
        for name in left
    )


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def starts(names):
    return {name.split('.')[0] for name in names}


def test_all_files_make_a_whole_checkpoint_and_come_back_identical(
    tmp_path, contents, write, target, config
):
    conversion = convert(write(contents), target('ovsam'))
    assert conversion.problems == conversion.missing == []
    assert shapes(conversion.tensors) == shapes(target('ovsam'))
    conversion.save(tmp_path / 'ovsam.pth')
    with torch.device('meta'):
        model = MODELS.build(config('ovsam').model)
    state = load_checkpoint_file(tmp_path / 'ovsam.pth')['state_dict']
    model.load_state_dict(state, strict=True, assign=True)
    written = export_released(tmp_path / 'ovsam.pth', tmp_path / 'back')
    assert set(written) == set(FORMATS)
    for key, (path, num_tensors) in written.items():
        kept = dict(clip='visual.', sam='prompt_encoder.').get(key, '')  # what this model has
        wanted = {name: each for name, each in contents[key].items() if name.startswith(kept)}
        assert path.name == f'{key}_ovsam.pth' and num_tensors == len(wanted)
        assert same(load_checkpoint_file(path), wanted)


@pytest.mark.parametrize('subset', [*((key,) for key in FORMATS), ('sam', 'clip2sam')])
def test_some_files_make_their_parts_complete(contents, write, target, subset):
    ovsam = target('ovsam')
    conversion = convert(write({key: contents[key] for key in subset}), ovsam)
    assert conversion.problems == []
    assert starts(conversion.tensors) == set().union(*(PARTS[key] for key in subset))
    assert set(conversion.tensors) | set(conversion.missing) == set(ovsam)
    if 'clip2sam' not in subset:  # no tokens and regions, which SAM does not have
        assert all('mask_decoder' in name for name in conversion.tensors if 'head.' in name)


def test_decoder_is_that_of_clip2sam_or_the_first_mask_of_sam(contents, write, target):
    contents['sam']['mask_decoder.mask_tokens.weight'] = torch.arange(4.0)[:, None].expand(-1, 256)
    counter = 'backbone.visual.bn1.num_batches_tracked'  # which old files lack
    del contents['clip'][counter.removeprefix('backbone.')]
    name, theirs = 'transformer.norm_final_attn.weight', 'mask_decoder.mask_decoder.'
    files = write(contents)
    both = convert(files, target('ovsam')).tensors
    assert torch.equal(both[f'head.mask_decoder.{name}'], contents['clip2sam'][theirs + name])
    assert both[counter].dtype == torch.int64 and both[counter] == 0
    del files['clip2sam']
    conversion = convert(files, target('ovsam'))
    assert conversion.problems == []
    found = conversion.tensors
    assert torch.equal(found[f'head.mask_decoder.{name}'], contents['sam'][f'mask_decoder.{name}'])
    assert torch.equal(found['head.mask_decoder.mask_tokens.weight'], torch.zeros(1, 256))
    report = conversion.report()
    assert 'more masks, and their IoU' in report and 'image_encoder.* (65 tensors' in report


def test_whole_sam_becomes_a_model_and_comes_back_also_as_safetensors(
    tmp_path, contents, write, target
):
    save_safetensors(contents['sam'], tmp_path / 'sam.safetensors')
    conversion = convert({'sam': str(tmp_path / 'sam.safetensors')}, target('sam'))
    assert conversion.problems == conversion.missing == []
    conversion.save(tmp_path / 'sam_model.safetensors')
    checkpoint = load_checkpoint_file(tmp_path / 'sam_model.safetensors')
    assert same(checkpoint['state_dict'], conversion.tensors)
    assert checkpoint['meta']['sam_file'] == 'sam.safetensors'
    ((path, _),) = export_released(tmp_path / 'sam_model.safetensors', tmp_path).values()
    assert same(load_checkpoint_file(path), contents['sam'])


def test_adapter_without_positions_has_those_of_its_teacher(contents, write, target):
    del contents['clip2sam']
    files = write(contents)
    conversion = convert(files, target('distiller'))
    assert conversion.problems == conversion.missing == []
    position = contents['sam2clip']['neck_student.pos_embed']
    assert torch.equal(conversion.tensors['neck.pos_embed'], position)
    del files['sam2clip']
    conversion = convert(files, target('distiller'))
    assert conversion.problems == [] and starts(conversion.missing) == {'neck'}
    position = contents['sam']['image_encoder.pos_embed']
    assert torch.equal(conversion.tensors['teacher.pos_embed'], position)
    assert torch.equal(conversion.tensors['neck.pos_embed'], position)


def test_positions_of_another_image_size_are_resampled(contents, write, target):
    target = target('sam', backbone=dict(image_size=128), prompt_encoder=dict(image_size=128))
    conversion = convert(write({'sam': contents['sam']}), target)
    assert conversion.problems == []
    assert shapes(conversion.tensors) == shapes(target)
    changed = {'pos_embed', *(f'blocks.{i}.attn.rel_pos_{a}' for i in (1, 3) for a in 'hw')}
    for name, tensor in conversion.tensors.items():
        theirs = name.replace('backbone.', 'image_encoder.').removeprefix('head.')
        if name.removeprefix('backbone.') not in changed:
            assert torch.equal(tensor, contents['sam'][theirs])
    assert conversion.report().count('resampled to the image size') == 5


def test_open_clips_weights_come_by_model_and_tag_in_the_models_precision(
    contents, write, target, monkeypatch
):
    half = {k: v.half() if v.is_floating_point() else v for k, v in contents['clip'].items()}
    half['input_resolution'] = torch.tensor(64)  # of OpenAI's archives
    file = write({'clip': half})['clip']
    listed = open_clip.pretrained._PRETRAINED['RN50x16']
    monkeypatch.setitem(listed, 'openai', dict(file=file))
    ovsam = target('ovsam')
    conversion = convert({'clip': 'RN50x16:openai'}, ovsam)
    assert conversion.problems == []
    for name, tensor in conversion.tensors.items():
        assert tensor.dtype == ovsam[name].dtype
        assert torch.equal(tensor, half[name.removeprefix('backbone.')].to(tensor.dtype))
    assert 'input_resolution (1 tensors' in conversion.report()
    with pytest.raises(ValueError, match=r"RN50x16:none is neither.* for 'RN50x16': openai"):
        convert({'clip': 'RN50x16:none'}, target('ovsam'))
    with pytest.raises(FileNotFoundError, match=r'nothing\.pt does not exist'):
        convert({'clip': 'nothing.pt'}, target('ovsam'))


@pytest.mark.parametrize(
    'ours, place',
    [
        ('head.roi_conv.weight', ('clip2sam', 'mask_decoder.roi_conv.0.conv.weight')),
        # of the naive combination of SAM and CLIP
        ('clip.visual.conv1.weight', ('clip', 'visual.conv1.weight')),
        ('sam.head.mask_decoder.iou_token.weight', ('sam', 'mask_decoder.iou_token.weight')),
        ('prompter.detector.neck.conv.weight', None),
    ],
)
def test_each_parameter_has_its_place_in_a_format(ours, place):
    assert locate(ours, decoder_of='clip2sam') == locate(ours, decoder_of='sam') == place


def test_what_does_not_fit_is_found_in_all_files_at_once(tmp_path, contents, write, target):
    del contents['clip']['visual.conv1.weight']
    contents['sam2clip'].update({'extra.a': ONES, 'neck_student.b': ONES})
    contents['clip2sam']['mask_decoder.label_token.weight'] = torch.ones(1, 7)
    # a table of another window is another shape
    conversion = convert(write(contents), target('ovsam', neck=dict(window_size=5)), ['other'])
    for problem, (flag, text) in zip(
        conversion.problems,
        [
            ('clip', 'lacks 1 tensors of the model (backbone.*)'),
            ('sam2clip', '2 unexpected tensors (extra.*, neck_student.*)'),
            ('sam2clip', 'has 2 tensors of another shape'),
            ('clip2sam', 'has 1 tensors of another shape'),
        ],
        strict=True,
    ):
        assert problem.startswith(f'--{flag} ') and text in problem
    report = conversion.report()
    for line in (
        '  missing: backbone.visual.conv1.weight',
        '  unexpected: extra.a',
        'mask_decoder.label_token.weight is (1, 7) in the file and (1, 256) in the model',
    ):
        assert line in report
    with pytest.raises(ValueError, match='Nothing was written'):
        conversion.save(tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()
    del contents['clip2sam']  # prefixes may be allowed
    allowed = ['extra.', 'neck_student.b'], ['backbone.visual.conv1']
    assert convert(write(contents), target('ovsam'), *allowed).problems == []


@pytest.mark.parametrize(
    'given, actual, kind, message',
    [
        ('clip', 'sam', 'ovsam', 'looks like a file for --sam.'),
        ('sam', 'clip2sam', 'ovsam', 'looks like a file for --clip2sam.'),
        ('sam2clip', 'sam2clip', 'sam', 'Does the config have this part?'),
    ],
)
def test_file_under_the_wrong_flag_is_recognized(
    contents, write, target, given, actual, kind, message
):
    files = write({actual: contents[actual]})
    (problem,) = convert({given: files[actual]}, target(kind)).problems
    assert 'gives this model nothing' in problem and message in problem


def test_other_files_and_outputs_are_refused(tmp_path, contents, write, target):
    torch.save(torch.ones(3, 2, 4), tmp_path / 'vocabulary.pth')
    with pytest.raises(ValueError, match=r'vocabulary\.pth: Expected a checkpoint of named'):
        convert({'sam': str(tmp_path / 'vocabulary.pth')}, target('ovsam'))
    with pytest.raises(ValueError, match=r'out\.zip should end in one of \.pth'):
        convert(write({'clip': contents['clip']}), target('ovsam')).save(tmp_path / 'out.zip')
    torch.save({'bbox_head.conv.weight': ONES, 'neck.a': ONES}, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'1 tensors that belong to no .* \(bbox_head\.\*\)'):
        export_released(tmp_path / 'a.pth', tmp_path / 'back')
    assert not (tmp_path / 'back').exists()
    written = export_released(tmp_path / 'a.pth', tmp_path / 'back', ['bbox_head'])
    assert set(written) == {'sam2clip'}
