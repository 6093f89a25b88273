import pytest
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from torch import nn

from mmovsam.vocabulary import OVSAM_TEMPLATES, Vocabulary


class LengthModel(nn.Module):
    """Embeds a text as (its length, its number of spaces), and remembers it."""

    def __init__(self):
        super().__init__()
        self.texts = []

    def tokenizer(self, texts):
        self.texts += texts
        return torch.tensor([[len(text), text.count(' ')] for text in texts])

    def encode_text(self, tokens):
        return tokens.float()


def build(vocabulary, model=None):
    model = model or LengthModel()
    return vocabulary.build_classifier(model, model.tokenizer)


def direction(text):
    return F.normalize(torch.tensor([float(len(text)), text.count(' ')]), dim=0)


def test_classifier_has_every_name_of_a_class_after_those_of_the_one_before():
    vocabulary = Vocabulary(['a', 'b b_or_cc c cc/dd'], templates=['{}.'], novel=[True, None])
    classifier = build(vocabulary)
    assert classifier.names == vocabulary.names and classifier.novel == (True, None)
    assert classifier.counts == (1, 3)
    expected = [direction(text) for text in ('a.', 'b b.', 'cc c cc.', 'dd.')]
    torch.testing.assert_close(classifier.embeddings, torch.stack(expected))


def test_a_name_of_two_classes_is_encoded_once_and_stands_for_both():
    model = LengthModel()
    vocabulary = Vocabulary(['cat/pet', 'dog/pet pet'], [[], ['pet']], templates=['{}'])
    classifier = build(vocabulary, model)
    assert sorted(model.texts) == ['cat', 'dog', 'pet', 'pet pet']
    assert classifier.counts == (2, 3)
    assert torch.equal(classifier.embeddings[1], classifier.embeddings[4])


def test_prompt_is_read_as_it_is_in_place_of_the_names():
    model = LengthModel()
    vocabulary = Vocabulary(
        ['SKU-1/2', 'cat'], templates=['a {}'], prompts={'SKU-1/2': ['A {} mug', 'two mugs']}
    )
    classifier = build(vocabulary, model)
    assert model.texts == ['A {} mug', 'two mugs', 'a cat']
    assert classifier.names == ('SKU-1/2', 'cat') and classifier.counts == (2, 1)


@pytest.mark.parametrize(
    ('prompts', 'error', 'message'),
    [
        ({'dog': 'a dog'}, ValueError, r"prompts of \['dog'\], which are no class names"),
        ({'cat': ' '}, ValueError, "prompts of 'cat' must be sentences"),
        ({'cat': []}, ValueError, "prompts of 'cat' must be sentences, got none"),
        ({'cat': 3}, TypeError, "prompts of 'cat' must be a list"),
        ('a cat', TypeError, 'prompts must be a dict'),
    ],
)
def test_bad_prompts_are_refused(prompts, error, message):
    with pytest.raises(error, match=message):
        Vocabulary(['cat'], prompts=prompts)


class PhrasingModel(LengthModel):
    """Has phrases of its own, and a bias for short ones."""

    def phrases(self, name, wnid=None):
        return (wnid,) if wnid else (name, f'{name} {name}')

    def name_bias(self, phrases):
        return -0.5 if phrases[0] == 'a' else 0.0


def test_text_model_with_phrases_of_its_own_is_asked_for_them_unless_there_are_templates():
    model = PhrasingModel()
    classifier = build(Vocabulary(['a', 'bb/cc'], synsets=[None, 'n1']), model)
    assert model.texts == ['a', 'a a', 'n1']
    assert classifier.counts == (1, 1) and classifier.bias.tolist() == [-0.5, 0.0]
    model = PhrasingModel()
    assert build(Vocabulary(['d', 'bb/cc'], prompts={'d': 'dd'}), model).bias is None
    assert model.texts == ['dd', 'bb', 'bb bb', 'cc', 'cc cc']
    model = PhrasingModel()
    build(Vocabulary(['a'], templates=['the {}'], synsets=['n1']), model)
    assert model.texts == ['the a']


def test_without_templates_and_phrases_names_go_into_those_of_ovsam():
    model = LengthModel()
    build(Vocabulary(['a'], synsets=['n1']), model)
    assert model.texts == [template.replace('{}', 'a') for template in OVSAM_TEMPLATES]


def test_synonyms_come_after_the_own_names_each_once():
    vocabulary = Vocabulary(['Sofa_or_couch', 'cat'], synonyms=[['couch', 'settee'], []])
    assert vocabulary.prompt_names == (('sofa', 'couch', 'settee'), ('cat',))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(names=[]), 'at least one class name'),
        (dict(names=['a', '']), "class name '' is empty"),
        (dict(names=['a', 'b', 'A']), "more than once: 'a', 'A'"),
        (dict(names=['a b', 'a_b']), "more than once: 'a b', 'a_b'"),
        (dict(names=['a'], synonyms=[]), 'synonyms has 0 entries for 1 classes'),
        (dict(names=['a'], synsets=['n1', None]), 'synsets has 2 entries for 1 classes'),
        (dict(names=['a'], novel=[True, False]), 'novel has 2 entries for 1 classes'),
        (dict(names=['a'], templates=[]), 'templates must be sentences'),
        (dict(names=['a'], templates=['no place']), 'no place'),
        (dict(names=['a'], novel=[None, 0]), 'novel has 2 entries'),
    ],
)
def test_bad_vocabulary_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary(**arguments)


@pytest.mark.parametrize(
    'arguments',
    [dict(names='cat'), dict(names=None), dict(names=[1]), dict(names=['a'], synonyms=['b'])],
)
def test_vocabulary_of_wrong_type_is_refused(arguments):
    with pytest.raises(TypeError, match='must be a'):
        Vocabulary(**arguments)


def test_file_holds_a_class_a_line_with_synonyms_after_commas(tmp_path):
    path = tmp_path / 'names.txt'
    path.write_bytes('\ufeffcat, Kitty\r\n\r\ncafé_cup\n'.encode())
    vocabulary = Vocabulary.from_file(path, templates=['{}'])
    assert vocabulary.prompt_names == (('cat', 'kitty'), ('café cup',))
    assert len(vocabulary) == 2
    assert vocabulary.templates == ('{}',)


def test_prompts_of_a_file_come_after_tabs(tmp_path):
    path = tmp_path / 'names.txt'
    path.write_text('cat\nSKU-1\ta blue mug \t a mug, blue\n')
    vocabulary = Vocabulary.from_file(path)
    assert vocabulary.names == ('cat', 'SKU-1')
    assert vocabulary.prompts == {'SKU-1': ('a blue mug', 'a mug, blue')}


def test_metainfo_gives_names_synonyms_and_novel():
    metainfo = dict(classes=('a', 'b'), synonyms=(('x',), ()), novel=(False, True), palette=())
    vocabulary = Vocabulary.from_metainfo(metainfo)
    assert vocabulary.names == ('a', 'b')
    assert vocabulary.prompt_names == (('a', 'x'), ('b',))
    assert vocabulary.novel == (False, True)
    assert Vocabulary.from_metainfo(dict(classes=['a'])).novel is None


def test_metainfo_without_classes_is_refused():
    with pytest.raises(ValueError, match="no 'classes'"):
        Vocabulary.from_metainfo(dict(palette=()))


@pytest.mark.parametrize('separator', [', ', '/', '_or_'])
def test_names_that_would_share_a_part_stay_whole(separator):
    """As labels of Label Studio do, which have no convention."""
    names = [f'triangle{separator}yellow', f'triangle{separator}red', f'sofa{separator}couch']
    whole = [name.replace('_', ' ') for name in names]
    for synonyms in (None, [(), (), ()]):
        vocabulary = Vocabulary(names, synonyms)
        assert vocabulary.prompt_names == ((whole[0],), (whole[1],), ('sofa', 'couch'))


def test_a_name_of_two_classes_is_told(caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    Vocabulary(['cat', 'dog'], [('pet', 'tom'), ('pet',)])
    logger.removeHandler(caplog.handler)
    assert "1 names mean several classes, such as 'pet' 'cat' and 'dog'" in caplog.text
