"""What the command lines have in common."""

import pytest

from mmovsam.engine.command_line import last_checkpoint


@pytest.mark.parametrize('separator', ['/', '\\'])
@pytest.mark.parametrize('original_is_there', [False, True])
def test_a_training_that_was_moved_or_copied_goes_on_with_its_own(
    tmp_path, separator, original_is_there
):
    folders = before, after = tmp_path / 'before', tmp_path / 'after'
    for folder in folders[1 - original_is_there :]:
        folder.mkdir()
        (folder / 'epoch_2.pth').touch()
    noted = f'{before}/epoch_2.pth'.replace('/', separator)
    (after / 'last_checkpoint').write_text(f'{noted}\n')
    assert last_checkpoint(str(after)) == str(after / 'epoch_2.pth')


def test_checkpoints_may_lie_elsewhere_and_there_may_be_none_yet(tmp_path):
    assert last_checkpoint(str(tmp_path)) is None
    for noted in (str(tmp_path / 'elsewhere' / 'epoch_2.pth'), 's3://bucket/epoch_2.pth'):
        (tmp_path / 'last_checkpoint').write_text(noted)
        assert last_checkpoint(str(tmp_path)) == noted
