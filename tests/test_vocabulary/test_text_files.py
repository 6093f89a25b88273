import pytest

from mmovsam.vocabulary.text_files import read_lines


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
