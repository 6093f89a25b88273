"""Which images there are to label, and their names."""

import os

import pytest

from mmovsam.apis.input_list import list_images, list_inputs
from mmovsam.fileio import RESULTS, mark_results

FILES = ('b.jpg', 'a/2.PNG', 'a/1.jpeg', 'a/deep/3.webp', 'a/notes.txt', '.hidden/4.jpg', '.5.jpg')
NAMES = ['a/1.jpeg', 'a/2.PNG', 'a/deep/3.webp', 'b.jpg']


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name in FILES:
        (tmp_path / 'images' / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / 'images' / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'images'


def test_folder_is_searched_to_the_bottom_but_not_where_it_is_hidden(folder):
    found = list_images(folder)
    assert list(found) == list(list_images('images/../images/')) == NAMES
    assert list_inputs(folder) == [str(folder / name) for name in NAMES]
    assert found['a/1.jpeg'] == folder / 'a' / '1.jpeg'
    assert 'a/deep/3.webp' not in list_images(folder, leave_out=['images/a/deep'])
    assert list(list_images(folder, leave_out=['images/none'])) == NAMES
    with pytest.raises(ValueError, match=r'images has no images besides those in \.'):
        list_images(folder, leave_out=['.'])  # pictures would go where the images are


def test_marked_folders_have_results_unless_they_are_named(folder, logged):
    mark_results(folder / 'a')
    assert list(list_images(folder)) == list(list_images('images/**/*')) == ['b.jpg']
    assert list_inputs(folder) == list_inputs(f'{folder}/**/*.[jw]*') == [str(folder / 'b.jpg')]
    assert 'images/a is left out: it has results of an earlier run' in logged.text
    assert list(list_images('images/a')) == ['1.jpeg', '2.PNG', 'deep/3.webp']
    assert list(list_images('images/a/*')) == ['1.jpeg', '2.PNG']
    (folder / 'a' / RESULTS).unlink()
    assert list(list_images(folder)) == NAMES


def test_folders_that_cannot_be_read_are_named(folder, monkeypatch, logged):
    scandir = os.scandir

    def denied(place):
        if str(place).endswith('deep'):
            raise PermissionError(13, 'Permission denied', str(place))
        return scandir(place)

    monkeypatch.setattr(os, 'scandir', denied)
    assert list(list_images(folder)) == ['a/1.jpeg', 'a/2.PNG', 'b.jpg']
    assert 'images/a/deep is left out: Permission denied.' in logged.text


def test_folders_that_systems_make_are_left_out_links_followed_and_a_circle_ends(folder):
    for name in ('images/@eaDir/b.jpg', 'images/__MACOSX/a', 'images/#recycle', 'elsewhere'):
        (folder.parent / name).mkdir(parents=True)
        (folder.parent / name / '9.jpg').touch()
    os.symlink(folder, folder / 'a' / 'circle')
    os.symlink(folder.parent / 'elsewhere', folder / 'linked')
    assert list(list_images(folder)) == [*NAMES, 'linked/9.jpg']


@pytest.mark.parametrize(
    'pattern, names',
    [
        ('images/*.jpg', ['b.jpg']),
        ('images/a/*', ['1.jpeg', '2.PNG']),
        ('images/*/*.jpeg', ['a/1.jpeg']),
        ('images/**/*', NAMES),
        ('images/b.jpg', ['b.jpg']),
    ],
)
def test_glob_names_images_from_its_first_wildcard_on(folder, pattern, names):
    assert list(list_images(pattern)) == names
    assert list(list_images(folder.parent / pattern)) == names


def test_list_names_images_from_its_own_folder_on(folder):
    (folder / 'list.txt').write_text(f'a/2.PNG\n\n{folder / "b.jpg"}\n../other/7.gif\n')
    assert list(list_images('images/list.txt')) == ['../other/7.gif', 'a/2.PNG', 'b.jpg']


def test_what_cannot_be_listed_is_told(folder):
    (folder / 'list.txt').write_text('b.jpg\na/../b.jpg\n')
    for source, error, message in [
        ('nowhere', FileNotFoundError, 'no folder, glob or file nowhere'),
        ('images/*.gif', ValueError, r'images/\*.gif has no images'),
        (folder / 'list.txt', ValueError, 'names b.jpg twice'),
    ]:
        with pytest.raises(error, match=message):
            list_images(source)
