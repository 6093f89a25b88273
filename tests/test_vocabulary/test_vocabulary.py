"""Class names with their synonyms and prompts, and the sources that name classes."""

import pytest
import torch
import torch.nn.functional as F
from mmdet.datasets import CocoDataset
from text_tower import LengthModel

from mmovsam.datasets import OVCocoDataset, OVLVISDataset
from mmovsam.vocabulary import OVSAM_TEMPLATES, Vocabulary
from mmovsam.vocabulary.sources import read_metainfo


def build(vocabulary, model=None):
    model = model or LengthModel()
    return vocabulary.build_classifier(model, model.tokenizer)


def test_classifier_has_every_name_of_a_class_after_those_of_the_one_before():
    vocabulary = Vocabulary(['a', 'b b_or_cc c cc/dd'], templates=['{}.'], novel=[1, None])
    classifier = build(vocabulary)
    assert classifier.names == vocabulary.names and classifier.novel == (True, None)
    assert classifier.counts == (1, 3)
    expected = torch.tensor([[2.0, 0], [4, 1], [8, 2], [3, 0]])  # a. | b b. | cc c cc. | dd.
    torch.testing.assert_close(classifier.embeddings, F.normalize(expected, dim=1))


def test_a_name_of_two_classes_is_encoded_once_and_stands_for_both(logged):
    vocabulary = Vocabulary(['cat/pet', 'dog/pet pet'], [[], ['pet']], templates=['{}'])
    text = "1 names mean several classes, such as 'pet' 'cat/pet' and 'dog/pet pet'"
    assert text in logged.text
    model = LengthModel()
    classifier = build(vocabulary, model)
    assert sorted(model.texts) == ['cat', 'dog', 'pet', 'pet pet']
    assert classifier.counts == (2, 3)
    assert torch.equal(classifier.embeddings[1], classifier.embeddings[4])


class PhrasingModel(LengthModel):
    """Has phrases of its own, and a bias for short ones."""

    def phrases(self, name, wnid=None):
        return (wnid,) if wnid else (name, f'{name} {name}')

    def name_bias(self, phrases):
        return -0.5 if phrases[0] == 'a' else 0.0


SKU = {'SKU-1/2': ['A {} mug', 'two mugs']}


@pytest.mark.parametrize(
    ('model', 'arguments', 'texts', 'counts', 'bias'),
    [
        # a prompt is read as it is in place of the names, and a name is put in as it is
        (LengthModel, dict(names=['SKU-1/2', 'a{}b{0}'], templates=['x {}'], prompts=SKU),
         ['A {} mug', 'two mugs', 'x a{}b{0}'], (2, 1), None),
        # without templates and phrases names go into those of OVSAM
        (LengthModel, dict(names=['a'], synsets=['n1']),
         [template.replace('{}', 'a') for template in OVSAM_TEMPLATES], (1,), None),
        # a text model's phrases count unless there are templates
        (PhrasingModel, dict(names=['a', 'bb/cc'], synsets=[None, 'n1']),
         ['a', 'a a', 'n1'], (1, 1), [-0.5, 0.0]),
        (PhrasingModel, dict(names=['d', 'bb/cc'], prompts={'d': 'dd'}),
         ['dd', 'bb', 'bb bb', 'cc', 'cc cc'], (1, 2), None),
        (PhrasingModel, dict(names=['a'], templates=['the {}'], synsets=['n1']),
         ['the a'], (1,), None),
    ],
)  # fmt: skip
def test_what_is_read_for_a_name(model, arguments, texts, counts, bias):
    model = model()
    classifier = build(Vocabulary(**arguments), model)
    assert model.texts == texts and classifier.counts == counts
    assert (None if classifier.bias is None else classifier.bias.tolist()) == bias


@pytest.mark.parametrize('separator', [', ', '/', '_or_'])
def test_names_that_would_share_a_part_stay_whole(separator):
    """As labels of Label Studio do, which have no convention."""
    names = [f'triangle{separator}yellow', f'triangle{separator}red', f'sofa{separator}couch']
    whole = [name.replace('_', ' ') for name in names]
    for synonyms in (None, [(), (), ()]):
        vocabulary = Vocabulary(names, synonyms)
        assert vocabulary.prompt_names == ((whole[0],), (whole[1],), ('sofa', 'couch'))


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        (dict(names=[]), ValueError, 'at least one class name'),
        (dict(names=['a', '']), ValueError, "class name '' is empty"),
        (dict(names=['a', 'b', 'A']), ValueError, "more than once: 'a', 'A'"),
        (dict(names=['a b', 'a_b']), ValueError, "more than once: 'a b', 'a_b'"),
        (dict(names=['a'], synonyms=[]), ValueError, 'synonyms has 0 entries for 1 classes'),
        (dict(names=['a'], synsets=['n1', None]), ValueError, 'synsets has 2 entries for 1'),
        (dict(names=['a'], novel=[True, False]), ValueError, 'novel has 2 entries for 1 classes'),
        (dict(names=['a'], templates=['no place']), ValueError, 'no place'),
        (dict(names=['a'], prompts={'b': 'x'}), ValueError, r"prompts of \['b'\], which are no"),
        (dict(names=['a'], prompts={'a': ' '}), ValueError, "prompts of 'a' must be sentences"),
        (dict(names=['a'], prompts={'a': []}), ValueError, "'a' must be sentences, got none"),
        (dict(names=['a'], prompts={'a': 3}), TypeError, "prompts of 'a' must be a list"),
        (dict(names=['a'], prompts='a cat'), TypeError, 'prompts must be a dict'),
        (dict(names='cat'), TypeError, 'must be a'),
        (dict(names=None), TypeError, 'must be a'),
        (dict(names=[1]), TypeError, 'must be a'),
        (dict(names=['a'], synonyms=['b']), TypeError, 'must be a'),
    ],
)
def test_bad_vocabulary_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        Vocabulary(**arguments)


# Sources


def test_file_holds_a_class_a_line_synonyms_after_commas_and_prompts_after_tabs(tmp_path):
    path = tmp_path / 'names'
    path.write_bytes('\ufeffcat, Kitty\r\n\r\nSKU-1\ta blue mug \t a mug, blue\n'.encode())
    for source in (path, str(path)):
        vocabulary = Vocabulary.from_source(source, templates=['{}'])
        assert vocabulary.names == ('cat, Kitty', 'SKU-1') and vocabulary.templates == ('{}',)
        assert vocabulary.prompt_names == (('cat', 'kitty'), ('sku-1',))
        assert vocabulary.prompts == {'SKU-1': ('a blue mug', 'a mug, blue')}
    path.write_text('\n\n')
    with pytest.raises(ValueError, match='names: a vocabulary needs'):
        Vocabulary.from_file(path)


def test_coco_has_80_classes_in_its_order_with_the_split_of_the_paper():
    vocabulary = Vocabulary.from_source('coco')
    assert vocabulary.names == CocoDataset.METAINFO['classes']
    flags = dict(zip(vocabulary.names, vocabulary.novel))
    assert [vocabulary.novel.count(flag) for flag in (False, True, None)] == [48, 17, 15]
    assert (flags['person'], flags['cat'], flags['stop sign']) == (False, True, None)
    changed = Vocabulary.from_source('coco', novel=None, templates='simple')
    assert changed.novel is None and changed.templates == ('a photo of a {}.',)


def test_lvis_by_the_word_is_what_its_annotation_file_says():
    vocabulary = Vocabulary.from_source('lvis')
    assert [vocabulary.novel.count(flag) for flag in (True, False)] == [337, 866]
    assert vocabulary.names[0] == 'aerosol_can' and vocabulary.names[-1] == 'zucchini'
    flags = dict(zip(vocabulary.names, vocabulary.novel))
    assert (flags['applesauce'], flags['person'], flags['apple']) == (True, False, False)
    assert vocabulary.prompt_names[0] == ('aerosol can', 'spray can')
    about = read_metainfo('lvis')
    categories = [
        dict(id=i, name=name, frequency='r' if novel else 'f', synonyms=[name, *synonyms])
        for i, (name, novel, synonyms) in enumerate(zip(*about.values()), 1)
    ]
    by_file = Vocabulary.from_metainfo(OVLVISDataset.category_info(None, categories))
    assert by_file.names == vocabulary.names and by_file.novel == vocabulary.novel
    assert by_file.prompt_names == vocabulary.prompt_names


def test_imagenets_classes_have_wordnets_synonyms_and_homonyms_its_definitions():
    small = Vocabulary.from_source('imagenet1k')
    assert len(small) == 1000 and small.prompt_names[0] == ('tench', 'tinca tinca')
    assert list(small.prompts) == ['crane (n02012849)', 'crane (n03126707)']
    assert small.synsets[0] == 'n01440764' and len(set(small.synsets)) == 1000
    large = Vocabulary.from_source('imagenet22k')
    assert len(large) == len(set(large.names)) == 21841
    assert large.names[0] == 'organism, being'
    assert large.prompt_names[0] == ('organism', 'being')
    assert max(map(len, large.prompt_names)) == 15
    bird, machine = (large.prompts[name] for name in large.names if name.startswith('crane ('))
    assert bird[0].startswith('a photo of a crane, large long-necked wading bird')
    assert machine[0].startswith('a photo of a crane, lifts and moves heavy objects')
    pairs = zip(large.names, large.prompt_names)
    plain = [names for name, names in pairs if name not in large.prompts]
    assert len(set(plain)) == len(plain)


def test_datasets_give_what_they_know():
    class Built:
        metainfo = dict(classes=('a', 'b'), synonyms=(('x',), ()), novel=(False, True))

    vocabulary = Vocabulary.from_source(Built())
    assert vocabulary.prompt_names == (('a', 'x'), ('b',)) and vocabulary.novel == (False, True)
    for source in ('OVCocoDataset', OVCocoDataset):
        vocabulary = Vocabulary.from_source(source)
        assert len(vocabulary) == 65 and sum(vocabulary.novel) == 17


@pytest.mark.parametrize(
    ('source', 'error', 'message'),
    [
        ('imagnet22k', ValueError, "no vocabulary 'imagnet22k'.*'imagenet22k'"),
        ('LVIS', ValueError, "no vocabulary 'LVIS'.*words .*coco, lvis"),
        ('CocoDatset', ValueError, "no vocabulary 'CocoDatset'.*'CocoDataset'"),
        ('OVLVISDataset', ValueError, 'are in its annotation file.*its config'),
        (type('Built', (), dict(metainfo=dict(palette=())))(), ValueError, "no 'classes'"),
        ('absent.txt', FileNotFoundError, 'absent.txt'),
        ('folder/absent', FileNotFoundError, 'folder/absent'),
        (None, TypeError, 'a vocabulary comes from a list of names'),
        ({'cat': 1}, TypeError, 'a vocabulary comes from a list of names'),
        (dict, TypeError, 'a vocabulary comes from a list of names'),
    ],
)
def test_unknown_source_is_answered_with_what_there_is(source, error, message):
    with pytest.raises(error, match=message):
        Vocabulary.from_source(source)
