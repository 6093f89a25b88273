"""The files that people have into one checkpoint, and back."""

import open_clip
import pytest
import reference
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from mmovsam.checkpoints import load_checkpoint_file, save_safetensors
from mmovsam.checkpoints.convert import convert, expected_tensors, export_released
from mmovsam.checkpoints.released import FORMATS

RN50 = dict(
    type='OVSAM',
    backbone=dict(type='OpenCLIPBackbone', model='RN50'),
    neck=dict(type='SAM2CLIPNeck', in_channels=[256, 512, 1024, 2048], embed_dim=64),
    region_neck=dict(type='FPN', in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=4),
    prompt_encoder=dict(type='SAMPromptEncoder'),
    head=dict(type='CLIP2SAMHead', embed_dim=1024),
    classifier=dict(type='OpenVocabClassifier'),
)
SUBSETS = [*((key,) for key in FORMATS), ('sam', 'clip2sam'), tuple(FORMATS)]


def same(left, right):
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype and torch.equal(left[name], right[name])
        for name in left
    )


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def load(path):
    return load_checkpoint_file(path)['state_dict']


def starts(names):
    return {name.split('.')[0] for name in names}


@pytest.fixture(scope='module')
def released():
    """Files of the small released OVSAM by format, and all of their tensors by released names."""
    every = {
        name: torch.full(tuple(shape), i + 0.5 if len(shape) else i)
        for i, (name, shape) in enumerate(reference.shapes('ovsam_rn50_small').items())
    }
    files = {key: {} for key in FORMATS}
    for name, tensor in every.items():
        if name.startswith('clip.'):
            files['clip'][name.removeprefix('clip.')] = tensor
        elif name.startswith('neck_student.'):
            files['sam2clip'][name] = tensor
        elif name.startswith('prompt_encoder.'):
            files['sam'][name] = tensor
        else:
            files['clip2sam'][name] = tensor
    return files, every


def test_released_files_load_strictly_and_come_back_identical(tmp_path, released, write):
    contents, every = released
    conversion = convert(write(contents), expected_tensors(Config(dict(model=RN50))))
    conversion.save(tmp_path / 'ovsam.pth')
    with torch.device('meta'):
        model = MODELS.build(RN50)
    model.load_state_dict(load(tmp_path / 'ovsam.pth'), strict=True, assign=True)
    assert same(dict(model.state_dict()), reference.by_our_names(every))

    written = export_released(tmp_path / 'ovsam.pth', tmp_path / 'back')
    assert set(written) == set(FORMATS)
    for key, (path, num_tensors) in written.items():
        tower = {k: v for k, v in contents[key].items() if key != 'clip' or 'visual.' in k}
        assert path.name == f'{key}_ovsam.pth' and num_tensors == len(tower)
        assert same(load_checkpoint_file(path), tower)


@pytest.mark.parametrize('subset', SUBSETS, ids='+'.join)
def test_any_subset_makes_its_parts_complete(contents, write, target, subset):
    files = {key: file for key, file in write(contents).items() if key in subset}
    ovsam = target('ovsam')
    conversion = convert(files, ovsam)
    assert conversion.problems == []
    parts = dict(
        clip={'backbone'},
        sam={'prompt_encoder', 'head'},
        sam2clip={'neck'},
        clip2sam={'region_neck', 'head'},
    )
    expected = set().union(*(parts[key] for key in subset))
    assert starts(conversion.tensors) == expected
    assert all(conversion.tensors[name].shape == ovsam[name].shape for name in conversion.tensors)
    assert set(conversion.tensors) | set(conversion.left) == set(ovsam)
    head = {name for name in ovsam if name.startswith('head.')}
    if 'clip2sam' in subset:
        assert head <= set(conversion.tensors)
    elif 'sam' in subset:  # the decoder without the tokens and regions that SAM does not have
        decoder = {name for name in head if name.startswith('head.mask_decoder.')}
        assert head & set(conversion.tensors) == decoder


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


def test_whole_sam_becomes_a_model_and_comes_back_identical(tmp_path, contents, write, target):
    files = write({'sam': contents['sam']})
    conversion = convert(files, target('sam'))
    assert conversion.problems == conversion.left == []
    assert shapes(conversion.tensors) == shapes(target('sam'))
    conversion.save(tmp_path / 'sam_model.pth')
    ((path, _),) = export_released(tmp_path / 'sam_model.pth', tmp_path).values()
    assert same(load_checkpoint_file(path), contents['sam'])


def test_adapter_without_positions_has_those_of_its_teacher(contents, write, target):
    del contents['clip2sam']
    files = write(contents)
    conversion = convert(files, target('distiller'))
    assert conversion.problems == conversion.left == []
    position = contents['sam2clip']['neck_student.pos_embed']
    assert torch.equal(conversion.tensors['neck.pos_embed'], position)
    del files['sam2clip']
    conversion = convert(files, target('distiller'))
    assert conversion.problems == [] and starts(conversion.left) == {'neck'}
    position = contents['sam']['image_encoder.pos_embed']
    assert torch.equal(conversion.tensors['teacher.pos_embed'], position)
    assert torch.equal(conversion.tensors['neck.pos_embed'], position)


def test_safetensors_are_read_and_written(tmp_path, contents, write, target):
    files = write(contents)
    save_safetensors(contents['clip'], tmp_path / 'clip.safetensors')
    files['clip'] = str(tmp_path / 'clip.safetensors')
    conversion = convert(files, target('ovsam'))
    conversion.save(tmp_path / 'out.safetensors')
    checkpoint = load_checkpoint_file(tmp_path / 'out.safetensors')
    assert same(checkpoint['state_dict'], conversion.tensors)
    assert checkpoint['meta']['clip_file'] == 'clip.safetensors'


def test_half_precision_becomes_what_the_model_has(contents, write, target):
    half = {k: v.half() if v.is_floating_point() else v for k, v in contents['clip'].items()}
    half['input_resolution'] = torch.tensor(64)  # of OpenAI's archives
    ovsam = target('ovsam')
    conversion = convert(write({'clip': half}), ovsam)
    assert conversion.problems == []
    for name, tensor in conversion.tensors.items():
        assert tensor.dtype == ovsam[name].dtype
        assert torch.equal(tensor, half[name.removeprefix('backbone.')].to(tensor.dtype))
    assert 'input_resolution (1 tensors' in conversion.report()


def test_open_clip_fetches_weights_by_model_and_tag_only(contents, write, target, monkeypatch):
    file = write({'clip': contents['clip']})['clip']
    fetched = []
    listed = open_clip.pretrained._PRETRAINED['RN50x16']
    monkeypatch.setitem(listed, 'openai', dict(file=file))
    find = open_clip.pretrained.get_pretrained_cfg
    monkeypatch.setattr(
        open_clip.pretrained, 'get_pretrained_cfg', lambda *a: fetched.append(a) or find(*a)
    )
    by_tag = convert({'clip': 'RN50x16:openai'}, target('ovsam'))
    assert by_tag.problems == [] and len(fetched) == 1
    convert({'clip': file}, target('ovsam'))
    assert len(fetched) == 1
    with pytest.raises(ValueError, match=r"RN50x16:none is neither.* for 'RN50x16': openai"):
        convert({'clip': 'RN50x16:none'}, target('ovsam'))
    with pytest.raises(FileNotFoundError, match=r'nothing\.pt does not exist'):
        convert({'clip': 'nothing.pt'}, target('ovsam'))
    assert len(fetched) == 2


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


def test_tensors_that_fit_are_not_copied(contents, write, target, monkeypatch):
    from mmovsam.checkpoints import sources

    read = {}

    def load(path):
        read.update(load_checkpoint_file(path))
        return read

    monkeypatch.setattr(sources, 'load_checkpoint_file', load)
    conversion = convert(write({'sam2clip': contents['sam2clip']}), target('ovsam'))
    for name, tensor in conversion.tensors.items():
        assert tensor.data_ptr() == read[name.replace('neck.', 'neck_student.', 1)].data_ptr()
