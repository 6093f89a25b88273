"""What does not fit is found before anything is written."""

import pytest
import torch

from mmovsam.checkpoints.convert import convert, export_released


def problem_of(tmp_path, conversion):
    """The only problem, which keeps the checkpoint from being written."""
    (problem,) = conversion.problems
    with pytest.raises(ValueError, match='Nothing was written'):
        conversion.save(tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()
    return problem


def test_unexpected_tensors_are_an_error_unless_named(tmp_path, contents, write, target):
    contents['sam2clip'].update({'extra.a': torch.ones(2), 'neck_student.b': torch.ones(2)})
    files = write({'sam2clip': contents['sam2clip']})
    conversion = convert(files, target('ovsam'), allow_unexpected=['other'])
    problem = problem_of(tmp_path, conversion)
    assert '2 unexpected tensors (extra.*, neck_student.*)' in problem
    assert '--allow-unexpected' in problem
    assert '  unexpected: extra.a' in conversion.report()
    allowed = convert(files, target('ovsam'), allow_unexpected=['extra.', 'neck_student.b'])
    assert allowed.problems == []
    assert not {'extra.a', 'neck_student.b'} & set(allowed.tensors)


def test_missing_tensors_are_an_error_unless_named(tmp_path, contents, write, target):
    del contents['clip']['visual.conv1.weight']
    files = write({'clip': contents['clip']})
    conversion = convert(files, target('ovsam'))
    problem = problem_of(tmp_path, conversion)
    assert 'lacks 1 tensors of the model (backbone.*)' in problem and '--allow-missing' in problem
    assert '  missing: backbone.visual.conv1.weight' in conversion.report()
    allowed = convert(files, target('ovsam'), allow_missing=['backbone.visual.conv1'])
    assert allowed.problems == []
    assert 'backbone.visual.conv1.weight' not in allowed.tensors


def test_every_other_shape_is_reported_and_no_flag_allows_it(tmp_path, contents, write, target):
    for name in ('neck_student.level_encoding.weight', 'neck_student.blocks.0.norm1.bias'):
        contents['sam2clip'][name] = torch.ones(3)
    everything = ['neck', 'backbone']
    files = write({'sam2clip': contents['sam2clip']})
    conversion = convert(files, target('ovsam'), everything, everything)
    assert 'has 2 tensors of another shape' in problem_of(tmp_path, conversion)
    report = conversion.report()
    assert 'neck_student.level_encoding.weight is (3,) in the file and (4, 64) in the' in report
    assert 'neck_student.blocks.0.norm1.bias is (3,) in the file and (64,) in the model' in report


def test_table_of_another_window_is_another_shape(tmp_path, contents, write, target):
    conversion = convert(
        write({'sam2clip': contents['sam2clip']}), target('ovsam', neck=dict(window_size=5))
    )
    assert 'rel_pos' in problem_of(tmp_path, conversion)


def test_problems_of_all_sources_are_found_at_once(contents, write, target):
    del contents['clip']['visual.conv1.weight']
    contents['sam2clip']['extra'] = torch.ones(2)
    contents['clip2sam']['mask_decoder.label_token.weight'] = torch.ones(1, 7)
    problems = convert(write(contents), target('ovsam')).problems
    assert [problem.split()[0] for problem in problems] == ['--clip', '--sam2clip', '--clip2sam']


@pytest.mark.parametrize(
    'given, actual, found',
    [
        ('clip', 'sam', 'looks like a file for --sam.'),
        ('sam', 'clip2sam', 'looks like a file for --clip2sam.'),
        ('sam2clip', 'clip', 'looks like a file for --clip.'),
    ],
)
def test_file_under_the_wrong_flag_is_recognized(contents, write, target, given, actual, found):
    (problem,) = convert({given: write(contents)[actual]}, target('ovsam')).problems
    assert found in problem


def test_source_that_the_model_has_no_part_for_is_an_error(contents, write, target):
    (problem,) = convert(write({'sam2clip': contents['sam2clip']}), target('sam')).problems
    assert 'gives this model nothing' in problem and 'Does the config have this part?' in problem


def test_file_without_names_is_named(tmp_path, target):
    torch.save(torch.ones(3, 2, 4), tmp_path / 'vocabulary.pth')
    with pytest.raises(ValueError, match=r'vocabulary\.pth: Expected a checkpoint of named'):
        convert({'sam': str(tmp_path / 'vocabulary.pth')}, target('ovsam'))


def test_output_of_another_kind_is_refused(tmp_path, contents, write, target):
    conversion = convert(write(contents), target('ovsam'))
    with pytest.raises(ValueError, match=r'out\.zip should end in one of \.pth'):
        conversion.save(tmp_path / 'out.zip')


def test_checkpoint_of_another_model_does_not_go_back(tmp_path):
    torch.save(
        {'bbox_head.conv.weight': torch.ones(2), 'neck.a': torch.ones(1)}, tmp_path / 'a.pth'
    )
    with pytest.raises(ValueError, match=r'1 tensors that belong to no .* \(bbox_head\.\*\)'):
        export_released(tmp_path / 'a.pth', tmp_path / 'back')
    assert not (tmp_path / 'back').exists()
    written = export_released(tmp_path / 'a.pth', tmp_path / 'back', ['bbox_head'])
    assert set(written) == {'sam2clip'}
