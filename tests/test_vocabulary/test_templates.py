import open_clip
import pytest

from mmovsam.vocabulary import OVSAM_TEMPLATES, find_templates


def test_ovsam_templates_are_the_reference_ones_in_order():
    assert OVSAM_TEMPLATES == (
        'a photo of a {}.',
        'This is a photo of a {}',
        'There is a {} in the scene',
        'There is the {} in the scene',
        'a photo of a {} in the scene',
        'a photo of a small {}.',
        'a photo of a medium {}.',
        'a photo of a large {}.',
        'This is a photo of a small {}.',
        'This is a photo of a medium {}.',
        'This is a photo of a large {}.',
        'There is a small {} in the scene.',
        'There is a medium {} in the scene.',
        'There is a large {} in the scene.',
    )


@pytest.mark.parametrize(
    ('name', 'functions'),
    [
        ('openai_imagenet', open_clip.OPENAI_IMAGENET_TEMPLATES),
        ('simple_imagenet', open_clip.SIMPLE_IMAGENET_TEMPLATES),
    ],
)
def test_templates_of_open_clip_make_its_sentences(name, functions):
    sentences = [template.replace('{}', 'cat') for template in find_templates(name)]
    assert sentences == [function('cat') for function in functions]


@pytest.mark.parametrize('name', ['ovsam', 'simple', 'openai_imagenet', 'simple_imagenet'])
def test_every_known_list_passes_the_check_of_lists(name):
    assert find_templates(list(find_templates(name))) == find_templates(name)


def test_file_holds_a_sentence_a_line(tmp_path):
    path = tmp_path / 'templates.txt'
    path.write_text('a {}.\n\n the {} \n')
    assert find_templates(path) == find_templates(str(path)) == ('a {}.', 'the {}')


@pytest.mark.parametrize('templates', [[], ['no place'], ['{} and {}'], ['a {}', 3]])
def test_sentences_without_one_place_for_the_name_are_refused(templates):
    with pytest.raises(ValueError, match='one {} for the name'):
        find_templates(templates)


def test_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="no templates 'openai'.*ovsam, simple, openai_imagenet"):
        find_templates('openai')


@pytest.mark.parametrize('templates', [None, 3])
def test_templates_of_wrong_type_are_refused(templates):
    with pytest.raises(TypeError, match='must be a list of sentences'):
        find_templates(templates)
