import json

import pytest

from mmovsam.apis.auto_labeling.proposals import match_images

NAMES = ['a/000139.jpg', 'a/2.x.jpg', 'b/000140.png']


@pytest.mark.parametrize(
    'key, name',
    [
        ('a/000139.jpg', 'a/000139.jpg'),
        ('000139.jpg', 'a/000139.jpg'),
        ('/data/a/000139.jpg', 'a/000139.jpg'),
        ('2.x', 'a/2.x.jpg'),
        ('b/000140', 'b/000140.png'),
        (139, 'a/000139.jpg'),
        (140, 'b/000140.png'),
    ],
)
def test_file_name_or_number_means_the_image(key, name):
    assert match_images([key], NAMES, 'p.json') == {name: key}


@pytest.mark.parametrize('name', ['a/u\u0308.jpg', 'a/\u00fc.jpg'])
@pytest.mark.parametrize(
    'key', ['a\\u\u0308.jpg', 'C:\\data\\a\\\u00fc.jpg', 'u\u0308', 'a/\u00fc.jpg']
)
def test_names_of_windows_and_macos_mean_the_image(name, key):
    assert match_images([key], [name], 'p.json') == {name: key}


@pytest.mark.parametrize('key', ['b/000139.jpg', '139', '000139.png', '2', 2, 'x.jpg', 0])
def test_what_is_not_the_name_means_nothing(key):
    with pytest.raises(ValueError, match='0 of 3 images have proposals.*give the COCO file'):
        match_images([key], NAMES, 'p.json')


def test_coco_file_says_which_image_an_id_is(tmp_path):
    images = [dict(id=139, file_name='b/000140.png'), dict(id='x', coco_url='http://c/a/2.x.jpg')]
    (tmp_path / 'coco.json').write_text(json.dumps(dict(images=images)))
    found = match_images([139, 'x', 140], NAMES, 'p.json', tmp_path / 'coco.json')
    assert found == {'b/000140.png': 139, 'a/2.x.jpg': 'x'}


def test_what_does_not_match_is_told_on_both_sides(logged):
    match_images([139, 7, 8], NAMES, 'p.json')
    (text,) = logged.messages
    assert '1 of 3 images have proposals in it, but not a/2.x.jpg, b/000140.png' in text
    assert '2 of its images are not among them, such as [7, 8]' in text
    match_images([139, 140, '2.x'], NAMES, 'p.json')
    assert len(logged.messages) == 1


def test_doubt_is_an_error():
    with pytest.raises(ValueError, match="'1.jpg' may be a/1.jpg or b/1.jpg"):
        match_images(['1.jpg'], ['a/1.jpg', 'b/1.jpg'], 'p.json')
    with pytest.raises(ValueError, match="'1' and 'a/1.jpg' may both be a/1.jpg"):
        match_images(['1', 'a/1.jpg'], ['a/1.jpg'], 'p.json')


@pytest.mark.parametrize('content', [{}, dict(images=[dict(id=1)]), dict(images=[3])])
def test_coco_file_without_file_names_is_refused(tmp_path, content):
    (tmp_path / 'coco.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='coco.json has no `images`'):
        match_images([1], NAMES, 'p.json', tmp_path / 'coco.json')
