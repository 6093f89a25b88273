from mmovsam.vocabulary import OVSAM_TEMPLATES, SIMPLE_TEMPLATES


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


def test_every_template_has_one_place_for_the_name():
    for template in OVSAM_TEMPLATES + SIMPLE_TEMPLATES:
        assert template.count('{}') == 1
