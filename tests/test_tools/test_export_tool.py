"""tools/export.py: what it hands on, and what it refuses."""

import pytest
import tiny

import mmovsam.export
from mmovsam.export import Comparison, VocabularyArrays
from mmovsam.vocabulary import save_classifier

SMALL = 'mini/ovsam_mini_boxes.py'


@pytest.fixture
def call(run_tool, monkeypatch):
    """Run the tool without exporting; returns status, output, errors and what was exported."""
    monkeypatch.delenv('MMOVSAM_TRACEBACK', raising=False)
    calls, comparison = [], Comparison()
    comparison.differences['low_res_logits'] = 3e-6

    def export(model, folder, classifier, int8):
        calls.append((model, classifier, int8))
        return comparison

    monkeypatch.setattr(mmovsam.export, 'export_onnx', export)
    return lambda *arguments: (*run_tool('export.py', *arguments), calls)


def test_model_and_vocabulary_of_a_config_are_exported_and_checked(call, tmp_path):
    status, out, err, calls = call(SMALL, '--out', tmp_path)
    assert status == 0, err
    ((model, classifier, int8),) = calls
    assert model.recognizes and len(classifier) == 640 and not int8
    assert out.splitlines()[-1].endswith('The largest difference from PyTorch is 3.0e-06.')
    save_classifier(tmp_path / 'v.safetensors', tiny.vocabulary(width=256))
    arguments = ('--vocabulary', tmp_path / 'v.safetensors', '--int8')
    call(SMALL, '--out', tmp_path / 'out', '--random-weights', *arguments)
    _, classifier, int8 = calls[1]
    assert classifier.names == tiny.NAMES and int8


def test_vocabulary_alone_becomes_a_file_for_an_earlier_export(call, tmp_path):
    save_classifier(tmp_path / 'v.safetensors', tiny.vocabulary())
    out = tmp_path / 'v.npz'
    status, text, err, calls = call('--vocabulary', tmp_path / 'v.safetensors', '--out', out)
    assert status == 0 and not calls, err
    assert text.startswith('Done. 6 classes')
    assert VocabularyArrays.load(out).names.tolist() == list(tiny.NAMES)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((), 'give a config, or --vocabulary'),
        (('no_such.py',), 'There is no config no_such.py'),
        (('mini/sam_clip_mini_image.py', '--random-weights'), 'is of a SAMCLIPBaseline'),
        (('ovsam_lvis.py',), 'names no weights'),
        (('--vocabulary', 'nowhere.safetensors'), 'There is no text classifier nowhere'),
    ],
)
def test_what_is_wrong_is_told_in_a_line(call, tmp_path, arguments, message):
    status, _, err, calls = call(*arguments, '--out', tmp_path / 'out.npz')
    assert status == 2 and not calls and message in err
    assert not list(tmp_path.iterdir())
