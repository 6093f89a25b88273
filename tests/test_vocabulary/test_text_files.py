import codecs
import json

import pytest

from mmovsam.vocabulary import Vocabulary
from mmovsam.vocabulary.names import read_lines, read_names


def test_lines_come_without_blank_ones_marks_and_white_space(tmp_path):
    path = tmp_path / 'names.txt'
    path.write_bytes('\ufeffcat\r\n\r\n  café cup \n\t\nred\u2028ring'.encode())
    assert read_lines(path) == ['cat', 'café cup', 'red\u2028ring']


def test_missing_file_and_folder_are_named(tmp_path):
    for path in (tmp_path / 'absent.txt', tmp_path):
        with pytest.raises(FileNotFoundError, match=rf'no text file {path}.*working folder'):
            read_lines(path)


def test_file_of_another_encoding_is_named(tmp_path):
    path = tmp_path / 'latin.txt'
    path.write_bytes('café'.encode('latin-1'))
    with pytest.raises(ValueError, match=r'latin\.txt is not UTF-8 \(byte 3\)'):
        read_lines(path)


@pytest.mark.parametrize(
    'mark, encoding',
    [
        (b'', 'utf-8'),
        (b'', 'utf-8-sig'),
        (codecs.BOM_UTF16_LE, 'utf-16-le'),
        (codecs.BOM_UTF16_BE, 'utf-16-be'),
        (codecs.BOM_UTF32_LE, 'utf-32-le'),
    ],
)
@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_encodings_with_a_mark_are_read(tmp_path, mark, encoding, end):
    """As PowerShell, Excel and the editor of Windows write them."""
    path = tmp_path / 'names.txt'
    path.write_bytes(mark + f'café{end}Straße{end}'.encode(encoding))
    assert read_lines(path) == ['café', 'Straße']


@pytest.mark.parametrize('encoding', ['latin-1', 'cp1252', 'utf-16-le', 'utf-16-be', 'shift-jis'])
def test_encodings_without_a_mark_are_told_with_the_remedy(tmp_path, encoding):
    path = tmp_path / 'names.txt'
    path.write_bytes(
        'cat\nテ'.encode(encoding) if encoding == 'shift-jis' else 'café'.encode(encoding)
    )
    with pytest.raises(ValueError, match=r'names\.txt is .*not UTF-8 .*save it as UTF-8'):
        read_lines(path)


COCO = dict(
    images=[], annotations=[], categories=[dict(id=10, name='dog'), dict(id=2, name='w/o mask')]
)


@pytest.mark.parametrize(
    'file, content, names',
    [
        ('instances.json', json.dumps(COCO), ['w/o mask', 'dog']),
        ('instances.txt', json.dumps(COCO), ['w/o mask', 'dog']),
        ('names.json', '["cat", "red, dog"]', ['cat', 'red, dog']),
        ('labels.json', '{"names": {"10": "b", "9": "a"}}', ['a', 'b']),
        ('data.yaml', 'train: images\nnames:\n  0: cat\n  1: dog\n', ['cat', 'dog']),
        ('data.yml', "nc: 2\nnames: ['cat', 'dog']\n", ['cat', 'dog']),
    ],
)
def test_files_of_data_sets_are_vocabularies(tmp_path, file, content, names):
    (tmp_path / file).write_text(content)
    assert read_names(tmp_path / file) == names
    assert Vocabulary.from_source(str(tmp_path / file)).names == tuple(names)


@pytest.mark.parametrize(
    'file, content',
    [
        ('a.json', '{"images": ['),
        ('a.json', '{"images": []}'),
        ('a.json', '{"categories": []}'),
        ('a.json', '{"categories": [{"id": 1}]}'),
        ('a.json', '[1, 2]'),
        ('a.yaml', 'nc: 2'),
        ('a.yaml', 'names: [1, 2]'),
        ('a.yaml', 'names: ['),
        ('a.yaml', 'cat'),
    ],
)
def test_files_of_data_sets_without_names_are_refused(tmp_path, file, content):
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=rf'{file} (has no list of names|is truncated)'):
        Vocabulary.from_source(str(tmp_path / file))
