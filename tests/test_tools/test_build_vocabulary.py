"""tools/build_vocabulary.py with a small text tower, in this process."""

from pathlib import Path

import pytest
import torch
from text_tower import CLIP, TOKENIZER, build_clip

from mmovsam.checkpoints import save_safetensors
from mmovsam.vocabulary import Vocabulary, load_classifier

DATASET = """
from mmengine.registry import DATASETS
@DATASETS.register_module(force=True)
class VocabularyToolDataset:
    metainfo = dict(classes=('a', 'b'), novel=(False, True))
"""
CONFIG = """
_base_ = ['model.py']
custom_imports = dict(imports=['vocabulary_tool_dataset'])
test_dataloader = dict(dataset=dict(type='mmengine.VocabularyToolDataset'))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the weights of a text tower and a config that names them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MMOVSAM_CACHE', str(tmp_path / 'cache'))
    save_safetensors(build_clip().state_dict(), 'clip.safetensors')
    Path('clip.py').write_text(f'clip = {CLIP}\n')
    encoder = dict(model=CLIP, checkpoint='clip.safetensors')
    Path('model.py').write_text(f'text_encoder = {encoder}\n')
    return tmp_path


@pytest.fixture
def run(folder, run_tool):
    """`run('names.txt --out c.safetensors')`: exit status, output and errors."""
    return lambda line: run_tool('build_vocabulary.py', *line.split())


def test_file_of_names_becomes_a_classifier_of_the_text_tower(run):
    Path('names.txt').write_text('cat, kitty\nmug\ta blue mug\n')
    Path('templates.txt').write_text('a {}\nthe {}\n')
    status, out, _ = run(
        'names.txt --out c.safetensors --model clip.py --checkpoint clip.safetensors '
        '--templates templates.txt'
    )
    assert status == 0 and '2 classes with 3 names' in out and 'c.safetensors' in out
    classifier = load_classifier('c.safetensors')
    vocabulary = Vocabulary.from_file('names.txt', templates=['a {}', 'the {}'])
    expected = vocabulary.build_classifier(build_clip(), TOKENIZER, cache=False)
    assert classifier.names == ('cat, kitty', 'mug') and classifier.counts == (2, 1)
    torch.testing.assert_close(classifier.embeddings, expected.embeddings)


def test_split_is_kept_or_forgotten_and_names_are_cached_or_not(run, folder):
    line = 'coco --out c.safetensors --model model.py --templates simple'
    status, out, _ = run(f'{line} --no-split --no-cache')
    assert status == 0 and '80 classes with 80 names' in out
    assert load_classifier('c.safetensors').novel is None and not (folder / 'cache').exists()
    status, out, _ = run(line)
    assert status == 0 and '(48 base, 17 novel, 15 neither, so never predicted)' in out
    assert load_classifier('c.safetensors').novel == Vocabulary.from_source('coco').novel
    assert len(list((folder / 'cache').iterdir())) == 1


def test_config_of_a_dataset_brings_names_and_text_tower(run, folder, monkeypatch):
    Path('vocabulary_tool_dataset.py').write_text(DATASET)
    Path('config.py').write_text(CONFIG)
    monkeypatch.syspath_prepend(str(folder))
    status, _, err = run('config.py c.safetensors')  # the file as second argument
    assert status == 0, err
    classifier = load_classifier('c.safetensors')
    assert classifier.names == ('a', 'b') and classifier.novel == (False, True)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('clip.py ./clip.py', 'clip.py is read, and would be replaced'),
        ('coco', '--out FILE'),
        ('coco --out c.safetensors', 'Give --model and --checkpoint'),
        ('coco --out c.safetensors --model clip.py', 'random weights would mean nothing'),
        ('coc --out c.safetensors --model model.py', "'coco'"),
        ('absent.txt --out c.safetensors --model model.py', 'absent.txt'),
        ('coco --out c.safetensors --model absent.py', 'absent.py'),
        ('coco --out c.safetensors --model model.py --templates a', "no templates 'a'"),
        ('coco --out c.safetensors --model model.py --batch-size 0', 'batch_size'),
    ],
)
def test_mistake_is_answered_in_a_line_and_nothing_is_written(run, folder, line, message):
    status, _, err = run(line)
    assert status == 2 and message in err and 'Traceback' not in err
    assert not (folder / 'c.safetensors').exists()
