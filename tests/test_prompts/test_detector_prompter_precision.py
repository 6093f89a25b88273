import copy

import pytest
import torch
from small_detectors import WHOLE, Model, Owner, fixed, of_array

from mmovsam.prompts import DetectorPrompter


@pytest.mark.parametrize('kind', [Owner, Model])
@pytest.mark.parametrize(
    'convert',
    [lambda m: m.half(), lambda m: m.double(), lambda m: m.to(torch.bfloat16)],
    ids=['half', 'double', 'bfloat16'],
)
def test_detector_keeps_its_precision_when_its_owner_changes(retinanet_file, kind, convert):
    model = kind(DetectorPrompter(WHOLE, retinanet_file))
    (expected,) = model.prompter([of_array()])
    model = convert(model)
    assert model.own.weight.dtype != torch.float32
    assert {p.dtype for p in model.prompter.detector.parameters()} == {torch.float32}
    (prompts,) = model.prompter([of_array()])
    assert torch.equal(prompts.bboxes, expected.bboxes)


def test_detector_is_left_alone_by_autocast_around_it(retinanet_file):
    prompter = DetectorPrompter(WHOLE, retinanet_file)
    (expected,) = prompter([of_array()])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        (prompts,) = prompter([of_array()])
    assert len(prompts) > 3
    assert torch.equal(prompts.bboxes, expected.bboxes)
    assert torch.equal(prompts.scores, expected.scores)


@pytest.mark.parametrize('dtype', ['bfloat16', 'float16'])
def test_lower_precision_is_that_of_backbone_and_neck_alone(retinanet_file, dtype):
    prompter = copy.deepcopy(DetectorPrompter(WHOLE, retinanet_file, dtype=dtype))
    seen = {}

    def note(name):
        return lambda module, inputs, output: seen.update({name: (inputs[0].dtype, output.dtype)})

    prompter.detector.backbone.conv1.register_forward_hook(note('backbone'))
    prompter.detector.bbox_head.retina_cls.register_forward_hook(note('head'))
    (prompts,) = prompter([of_array()])
    assert seen['backbone'] == (torch.float32, getattr(torch, dtype))
    assert seen['head'] == (torch.float32, torch.float32)
    assert prompts.bboxes.dtype == prompts.scores.dtype == torch.float32
    (exact,) = DetectorPrompter(WHOLE, retinanet_file)([of_array()])
    assert not torch.equal(prompts.scores, exact.scores)
    torch.testing.assert_close(prompts.scores[:3], exact.scores[:3], atol=0.02, rtol=0)
    assert (prompts.bboxes[0] - exact.bboxes[0]).abs().max() < 2


@pytest.mark.parametrize('kind', [Owner, Model])
def test_detector_stays_on_a_device_of_its_own(retinanet_file, kind):
    model = kind(DetectorPrompter(WHOLE, retinanet_file, device='cpu'))
    model.to('meta')
    assert model.own.weight.device.type == 'meta'
    (prompts,) = model.prompter([of_array()])
    assert prompts.bboxes.device.type == 'cpu' and len(prompts) > 3


@pytest.mark.parametrize('kind', [Owner, Model])
def test_detector_moves_with_its_owner_otherwise(retinanet_file, kind):
    model = kind(DetectorPrompter(WHOLE)).to('meta')
    assert {p.device.type for p in model.prompter.detector.parameters()} == {'meta'}
    assert {b.device.type for b in model.prompter.detector.buffers()} == {'meta'}


def test_device_that_the_machine_lacks_is_named_at_first_use():
    prompter = fixed(device='cuda:99')
    with pytest.raises(ValueError, match="device='cuda:99'.*Give a device of this machine"):
        prompter([of_array()])
