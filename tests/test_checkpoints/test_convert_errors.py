"""What does not fit is found before anything is written."""

import pytest
import torch

from mmovsam.checkpoints.convert import convert, export_released

ONES = torch.ones(3)
EVERYTHING = ['neck', 'backbone']


@pytest.mark.parametrize(
    ('key', 'change', 'problem', 'reported', 'allowed'),
    [
        (
            'sam2clip',
            {'extra.a': ONES, 'neck_student.b': ONES},
            '2 unexpected tensors (extra.*, neck_student.*)',
            ['  unexpected: extra.a'],
            (['extra.', 'neck_student.b'], []),
        ),
        (
            'clip',
            {'visual.conv1.weight': None},
            'lacks 1 tensors of the model (backbone.*)',
            ['  missing: backbone.visual.conv1.weight'],
            ([], ['backbone.visual.conv1']),
        ),
        (
            'sam2clip',
            {'neck_student.level_encoding.weight': ONES, 'neck_student.blocks.0.norm1.bias': ONES},
            'has 2 tensors of another shape',
            [
                'neck_student.level_encoding.weight is (3,) in the file and (4, 64) in the model',
                'neck_student.blocks.0.norm1.bias is (3,) in the file and (64,) in the model',
            ],
            None,
        ),
    ],
)
def test_what_does_not_fit_is_an_error_unless_it_is_named(
    tmp_path, contents, write, target, key, change, problem, reported, allowed
):
    contents[key].update(change)
    contents[key] = {name: each for name, each in contents[key].items() if each is not None}
    files, ovsam = write({key: contents[key]}), target('ovsam')
    conversion = convert(files, ovsam, *([EVERYTHING] * 2 if allowed is None else [['other']] * 2))
    (found,) = conversion.problems
    assert problem in found
    report = conversion.report()
    assert all(line in report for line in reported)
    with pytest.raises(ValueError, match='Nothing was written'):
        conversion.save(tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()
    if allowed:
        assert convert(files, ovsam, *allowed).problems == []
        assert '--allow-' in found


def test_problems_of_all_sources_are_found_at_once(contents, write, target):
    del contents['clip']['visual.conv1.weight']
    contents['sam2clip']['extra'] = torch.ones(2)
    contents['clip2sam']['mask_decoder.label_token.weight'] = torch.ones(1, 7)
    problems = convert(write(contents), target('ovsam', neck=dict(window_size=5))).problems
    assert [problem.split()[0] for problem in problems] == [
        *('--clip', '--sam2clip', '--sam2clip', '--clip2sam')
    ]
    assert 'rel_pos' in problems[2]  # a table of another window is another shape


@pytest.mark.parametrize(
    'given, actual, kind, message',
    [
        ('clip', 'sam', 'ovsam', 'looks like a file for --sam.'),
        ('sam', 'clip2sam', 'ovsam', 'looks like a file for --clip2sam.'),
        ('sam2clip', 'clip', 'ovsam', 'looks like a file for --clip.'),
        ('sam2clip', 'sam2clip', 'sam', 'Does the config have this part?'),
    ],
)
def test_file_under_the_wrong_flag_is_recognized(
    contents, write, target, given, actual, kind, message
):
    (problem,) = convert({given: write(contents)[actual]}, target(kind)).problems
    assert 'gives this model nothing' in problem and message in problem


def test_other_files_and_outputs_are_refused(tmp_path, contents, write, target):
    torch.save(torch.ones(3, 2, 4), tmp_path / 'vocabulary.pth')
    with pytest.raises(ValueError, match=r'vocabulary\.pth: Expected a checkpoint of named'):
        convert({'sam': str(tmp_path / 'vocabulary.pth')}, target('ovsam'))
    with pytest.raises(ValueError, match=r'out\.zip should end in one of \.pth'):
        convert(write(contents), target('ovsam')).save(tmp_path / 'out.zip')


def test_checkpoint_of_another_model_does_not_go_back(tmp_path):
    tensors = {'bbox_head.conv.weight': torch.ones(2), 'neck.a': torch.ones(1)}
    torch.save(tensors, tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=r'1 tensors that belong to no .* \(bbox_head\.\*\)'):
        export_released(tmp_path / 'a.pth', tmp_path / 'back')
    assert not (tmp_path / 'back').exists()
    written = export_released(tmp_path / 'a.pth', tmp_path / 'back', ['bbox_head'])
    assert set(written) == {'sam2clip'}
