"""Class names, files of them, and the sentences that they are put into."""

import codecs
import json
import re
import zlib

import open_clip
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmovsam.datasets import LabelMapDataset
from mmovsam.vocabulary import OVSAM_TEMPLATES, Vocabulary, find_templates, novel_flags, split_name
from mmovsam.vocabulary.names import read_lines, read_names


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('Person', ('person',)),
        ('traffic_light', ('traffic light',)),
        ('Sofa_OR_couch', ('sofa', 'couch')),
        ('cup/mug,beaker', ('cup', 'mug', 'beaker')),
        ('flip-flop_(sandal)', ('flip-flop (sandal)',)),
        ('red or green', ('red or green',)),
        ('corridor', ('corridor',)),
        (' a , a,b ', ('a', 'b')),
        ('sofa / couch', ('sofa', 'couch')),
        ('W/O_mask', ('w/o mask',)),
        ('w/ mask', ('w/ mask',)),
        ('I/O port', ('i/o port',)),
        ('speed limit 30 km/h', ('speed limit 30 km/h',)),
        ('24/7 shop', ('24/7 shop',)),
        ('1/2 cup', ('1/2 cup',)),
        ('1,000 dollars', ('1,000 dollars',)),
        ('mask, 2, 3', ('mask', '2', '3')),
    ],
)
def test_split_name_follows_the_rules(name, expected):
    assert split_name(name) == expected


@pytest.mark.parametrize(
    'name, error, message',
    [
        *((name, ValueError, 'is empty') for name in ('', '  ', '_', '/,', ',_or_/')),
        *((name, TypeError, 'must be a string') for name in (None, 3, b'cat')),
    ],
)
def test_what_is_no_name_is_refused(name, error, message):
    with pytest.raises(error, match=message):
        split_name(name)


@given(st.lists(st.text('abc_ /,(or)'), max_size=4).map('_or_'.join))
def test_split_names_are_clean_and_stable(name):
    try:
        names = split_name(name)
    except ValueError:
        assert not set(name.replace('_or_', '')) - set('_ /,')
        return
    assert len(set(names)) == len(names)
    for part in names:
        assert part == part.strip().lower()
        assert '_' not in part and ',' not in part
        assert '/' not in part or re.search(r'\b[a-z] ?/|/ ?[a-z]\b', part)
        assert split_name(part) == (part,)


def test_novel_names_may_leave_a_part_open_and_fit_a_class():
    classes = ('red owl', 'owl', 'red cat', 'a[b]', 'ab')
    assert novel_flags(classes, ['* owl', 'a[b]']) == (True, False, False, True, True)
    assert novel_flags(classes, ['owl']) == (False, True, False, False, False)
    assert novel_flags(classes, []) == (False,) * 5
    with pytest.raises(ValueError, match=r"novel has '\* dog', which is no class.*'cat'"):
        novel_flags(('cat', 'owl'), ['owl', '* dog'])


# Files


@pytest.mark.parametrize(
    ('mark', 'encoding'),
    [
        (b'', 'utf-8'),
        (b'', 'utf-8-sig'),
        (codecs.BOM_UTF16_LE, 'utf-16-le'),
        (codecs.BOM_UTF16_BE, 'utf-16-be'),
        (codecs.BOM_UTF32_LE, 'utf-32-le'),
    ],
)
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_lines_of_any_marked_encoding_come_without_blank_ones(tmp_path, mark, encoding, end):
    """As PowerShell, Excel and the editor of Windows write them."""
    path = tmp_path / 'names.txt'
    path.write_bytes(mark + f'café{end}{end} \t{end}  red\u2028ring {end}'.encode(encoding))
    assert read_lines(path) == ['café', 'red\u2028ring']


COCO = dict(
    images=[], annotations=[], categories=[dict(id=10, name='dog'), dict(id=2, name='w/o mask')]
)


@pytest.mark.parametrize(
    ('file', 'content', 'names'),
    [
        ('instances.json', json.dumps(COCO), ['w/o mask', 'dog']),
        ('instances.txt', json.dumps(COCO), ['w/o mask', 'dog']),
        ('names.json', '["cat", "red, dog"]', ['cat', 'red, dog']),
        ('labels.json', '{"names": {"10": "b", "9": "a"}}', ['a', 'b']),
        ('data.yaml', 'train: images\nnames:\n  0: cat\n  1: dog\n', ['cat', 'dog']),
        ('data.yml', "nc: 2\nnames: ['cat', 'dog']\n", ['cat', 'dog']),
        ('config.json', '{"id2label": {"1": "dog", "0": "cat"}}', ['cat', 'dog']),
        ('map.json', '{"dog": 1, "cat": 0}', ['cat', 'dog']),
        ('map.json', '{"1": "dog", "0": "cat"}', ['cat', 'dog']),
        ('a.csv', '\ufeff"id","Name"\r\n"1","cat"\r\n"2","hot dog, big"', ['cat', 'hot dog, big']),
        ('a.csv', 'id;class\n0;cat\n1;dog\n', ['cat', 'dog']),
        ('a.csv', 'cat,kitty\ndog,puppy\n', ['cat,kitty', 'dog,puppy']),
        ('a.tsv', 'Label\tcount\ncat\t1\ndog\t2', ['cat', 'dog']),
        ('digits.txt', '0\n1\n2', ['0', '1', '2']),
        ('coins.txt', '1 euro\n2 euro\n5 euro', ['1 euro', '2 euro', '5 euro']),
    ],
)
def test_files_of_data_sets_are_vocabularies(tmp_path, file, content, names):
    (tmp_path / file).write_text(content)
    assert read_names(tmp_path / file) == names
    assert Vocabulary.from_source(str(tmp_path / file)).names == tuple(names)


@pytest.mark.parametrize(
    ('file', 'content', 'message'),
    [
        ('a.txt', '0: cat\n1: dog', 'a number or id before each name'),
        ('a.txt', '1\tcat\n2\tdog', 'a number or id before each name'),
        ('a.csv', '1,cat\n2,dog', 'a number or id before each name'),
        ('a.csv', '"1","cat"\n"2","dog"', 'a number or id before each name'),
        ('a.txt', 'n01440764 tench, Tinca tinca\nn01443537 goldfish', 'a number or id before'),
        ('a.csv', '/m/011k07,Tortoise\n/m/011q46kg,Container', 'a number or id before'),
        ('a.txt', '- cat\n- dog', 'a dash, quotes or a comma around each name'),
        ('a.txt', '"cat",\n"dog"', 'quotes or a comma around each name'),
        ('a.txt', 'cat,\ndog,\nowl', 'quotes or a comma around each name'),
        ('a.xml', '<annotation><object><name>cat', "begins with '<annotation>"),
        ('a.pbtxt', "item {\n  id: 1\n  name: 'cat'\n}", "begins with 'item {'"),
        ('a.csv', 'name,id\n' + 'x' * 200_000, 'it is no table'),
        ('a.yaml', 'names: [on, cat]', 'True is none. If it is one, put it in quotes'),
        ('a.yaml', 'names: [1, 2]', '1 is none'),
        ('a.yaml', 'path: x\nnc: 2', 'no list of names: expected'),
    ],
)
def test_files_of_other_kinds_are_refused(tmp_path, file, content, message):
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=f'{file} has .*{message}'):
        Vocabulary.from_source(str(tmp_path / file))
    with pytest.raises(ValueError, match=message):
        LabelMapDataset(names_file=str(tmp_path / file), data_prefix=dict(img=str(tmp_path)))


def test_names_that_look_alike_are_one_and_json_is_read_strictly(tmp_path):
    for other in ('cafe\u0301', 'Caf\u00e9\u200b'):
        with pytest.raises(ValueError, match='given more than once'):
            Vocabulary(['caf\u00e9', other])
    (tmp_path / 'joined.txt').write_text('\ufeffcat\n\ufeffdog')
    assert read_names(tmp_path / 'joined.txt') == ['cat', 'dog']
    for content, message in (
        ('[' * 100_000, 'truncated or no JSON'),
        ('{"0": "cat", "1": "dog", "0": "owl"}', 'an object has "0" twice'),
    ):
        (tmp_path / 'a.json').write_text(content)
        with pytest.raises(ValueError, match=f'a.json is .*{message}'):
            read_names(tmp_path / 'a.json')


# Templates


@pytest.mark.parametrize('name', ['openai_imagenet', 'simple_imagenet'])
def test_templates_are_ovsams_open_clips_or_a_files(tmp_path, name):
    assert zlib.crc32('\n'.join(OVSAM_TEMPLATES).encode()) == 4063762887  # the released
    (tmp_path / 'templates.txt').write_text('a {}.\n\n the {} \n')
    assert find_templates(str(tmp_path / 'templates.txt')) == ('a {}.', 'the {}')
    sentences = [template.replace('{}', 'cat') for template in find_templates(name)]
    functions = getattr(open_clip, f'{name.upper()}_TEMPLATES')
    assert sentences == [function('cat') for function in functions]
    assert find_templates(list(find_templates(name))) == find_templates(name)


@pytest.mark.parametrize(
    ('templates', 'error', 'message'),
    [
        ([], ValueError, 'one {} for the name'),
        (['no place'], ValueError, 'one {} for the name'),
        (['{} and {}'], ValueError, 'one {} for the name'),
        (['a {}', 3], ValueError, 'one {} for the name'),
        ('openai', ValueError, "no templates 'openai'.*ovsam, simple, openai_imagenet"),
        (None, TypeError, 'must be a list of sentences'),
        (3, TypeError, 'must be a list of sentences'),
    ],
)
def test_wrong_templates_are_refused(templates, error, message):
    with pytest.raises(error, match=message):
        find_templates(templates)
