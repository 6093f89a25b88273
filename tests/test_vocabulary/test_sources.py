"""Words, datasets and files as sources of a vocabulary."""

import pytest
from mmdet.datasets import CocoDataset

from mmovsam.datasets import OVCocoDataset, OVLVISDataset
from mmovsam.vocabulary import Vocabulary
from mmovsam.vocabulary.sources import read_metainfo


@pytest.fixture(scope='module')
def imagenet22k():
    return Vocabulary.from_source('imagenet22k')


def test_coco_has_80_classes_in_its_order_with_the_split_of_the_paper():
    vocabulary = Vocabulary.from_source('coco')
    assert vocabulary.names == CocoDataset.METAINFO['classes']
    flags = dict(zip(vocabulary.names, vocabulary.novel))
    assert [vocabulary.novel.count(flag) for flag in (False, True, None)] == [48, 17, 15]
    assert (flags['person'], flags['cat'], flags['stop sign']) == (False, True, None)


def test_lvis_has_1203_classes_of_which_the_337_rare_ones_are_novel():
    vocabulary = Vocabulary.from_source('lvis')
    assert len(vocabulary) == 1203
    assert [vocabulary.novel.count(flag) for flag in (True, False)] == [337, 866]
    assert vocabulary.names[0] == 'aerosol_can' and vocabulary.names[-1] == 'zucchini'
    flags = dict(zip(vocabulary.names, vocabulary.novel))
    assert (flags['applesauce'], flags['person'], flags['apple']) == (True, False, False)
    assert vocabulary.prompt_names[0] == ('aerosol can', 'spray can')


def test_lvis_by_the_word_is_what_its_annotation_file_says():
    about = read_metainfo('lvis')
    categories = [
        dict(
            id=i,
            name=name,
            frequency='r' if novel else 'f',
            synonyms=[name, *synonyms],
        )
        for i, (name, novel, synonyms) in enumerate(zip(*about.values()), 1)
    ]
    read = OVLVISDataset.category_info(None, categories)
    by_file, by_word = map(Vocabulary.from_metainfo, (read, about))
    assert by_file.names == by_word.names and by_file.novel == by_word.novel
    assert by_file.prompt_names == by_word.prompt_names


def test_imagenet1k_has_its_classes_with_wordnets_synonyms():
    vocabulary = Vocabulary.from_source('imagenet1k')
    assert len(vocabulary) == 1000
    assert vocabulary.prompt_names[0] == ('tench', 'tinca tinca')
    assert list(vocabulary.prompts) == ['crane (n02012849)', 'crane (n03126707)']
    assert vocabulary.synsets[0] == 'n01440764' and len(set(vocabulary.synsets)) == 1000


def test_imagenet22k_has_every_class_once_with_wordnets_synonyms(imagenet22k):
    assert len(imagenet22k) == len(set(imagenet22k.names)) == 21841
    assert imagenet22k.names[0] == 'organism, being'
    assert imagenet22k.prompt_names[0] == ('organism', 'being')
    assert max(map(len, imagenet22k.prompt_names)) == 15


def test_homonyms_are_told_apart_by_definition(imagenet22k):
    birds = [name for name in imagenet22k.names if name.startswith('crane (')]
    bird, machine = (imagenet22k.prompts[name] for name in birds)
    assert bird[0].startswith('a photo of a crane, large long-necked wading bird')
    assert machine[0].startswith('a photo of a crane, lifts and moves heavy objects')
    plain = [
        names
        for name, names in zip(imagenet22k.names, imagenet22k.prompt_names)
        if name not in imagenet22k.prompts
    ]
    assert len(set(plain)) == len(plain)


@pytest.mark.parametrize('source', ['OVCocoDataset', OVCocoDataset])
def test_registered_dataset_gives_its_classes_and_split(source):
    vocabulary = Vocabulary.from_source(source)
    assert len(vocabulary) == 65 and sum(vocabulary.novel) == 17


def test_built_dataset_gives_what_its_file_said():
    class Built:
        metainfo = dict(classes=('a', 'b'), synonyms=(('x',), ()), novel=(False, True))

    vocabulary = Vocabulary.from_source(Built())
    assert vocabulary.prompt_names == (('a', 'x'), ('b',)) and vocabulary.novel == (False, True)


def test_dataset_whose_classes_are_in_its_file_says_so():
    with pytest.raises(ValueError, match='OVLVISDataset are in its annotation file.*its config'):
        Vocabulary.from_source('OVLVISDataset')


def test_list_and_file_are_sources_too(tmp_path):
    path = tmp_path / 'names'
    path.write_text('cat, kitty\ndog\n')
    for source in (['cat, kitty', 'dog'], path, str(path)):
        assert Vocabulary.from_source(source).prompt_names == (('cat', 'kitty'), ('dog',))


def test_word_comes_before_a_file_of_its_name_and_a_path_reaches_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'coco').write_text('cat\n')
    assert len(Vocabulary.from_source('coco')) == 80
    assert Vocabulary.from_source('./coco').names == ('cat',)


def test_arguments_take_the_place_of_what_the_source_says():
    vocabulary = Vocabulary.from_source('coco', novel=None, templates='simple')
    assert vocabulary.novel is None and vocabulary.templates == ('a photo of a {}.',)


@pytest.mark.parametrize(
    ('word', 'hint'),
    [
        ('imagnet22k', "'imagenet22k'"),
        ('LVIS', 'words coco, lvis'),
        ('CocoDatset', "'CocoDataset'"),
    ],
)
def test_unknown_word_is_answered_with_what_there_is(word, hint):
    with pytest.raises(ValueError, match=f"no vocabulary '{word}'.*{hint}"):
        Vocabulary.from_source(word)


@pytest.mark.parametrize('path', ['absent.txt', 'folder/absent'])
def test_path_to_no_file_is_a_missing_file(path):
    with pytest.raises(FileNotFoundError, match=path):
        Vocabulary.from_source(path)


@pytest.mark.parametrize('source', [None, 3, {'cat': 1}, dict])
def test_source_of_wrong_type_is_refused(source):
    with pytest.raises(TypeError, match='a vocabulary comes from a list of names'):
        Vocabulary.from_source(source)
