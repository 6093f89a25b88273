"""Label configs as people write them."""

import pytest
from label_studio_requests import label_config

from mmovsam.label_studio.label_config import parse_label_config


def test_brush_labels_of_the_image_are_read_and_no_others():
    sets = parse_label_config(label_config(['plum', 'fig']))
    assert list(sets) == ['image'] and sets['image'].image_key == 'picture'
    assert [label.name for label in sets['image'].labels] == ['plum', 'fig']
    assert {label.from_name for label in sets['image'].labels} == {'label'}


def test_alias_is_stored_and_predicted_values_are_synonyms():
    tag = '<Label value="plum" alias="P" predicted_values="prune, damson plum,"/>'
    (label,) = parse_label_config(label_config([tag]))['image'].labels
    assert (label.name, label.stored) == ('plum', 'P')
    assert label.synonyms == ('prune', 'damson plum')


def test_each_image_has_the_labels_that_point_at_it():
    config = """<View><!-- two views -->
      <Image name="front" value="$a"/><Image name="back" value="$b"/><Image name="map" value="$c"/>
      <BrushLabels name="x" toName="front,back"><Header value="Fruit"/><Label value="fig"/>
      </BrushLabels>
      <BrushLabels name="y" toName="back"><View><Label value="sky"/></View></BrushLabels></View>"""
    sets = parse_label_config(config)
    found = {
        name: (labels.image_key, [(label.name, label.from_name) for label in labels.labels])
        for name, labels in sets.items()
    }
    assert found == {'front': ('a', [('fig', 'x')]), 'back': ('b', [('fig', 'x'), ('sky', 'y')])}


@pytest.mark.parametrize(
    'config, message',
    [
        ('  ', 'label config is missing'),
        ('<View>', 'is no XML'),
        ('<!DOCTYPE v [<!ENTITY a "b">]><View/>', 'has a document type'),
        ('<View/>', 'no <Image'),
        (label_config().replace('BrushLabels', 'PolygonLabels'), '<BrushLabels>'),
        (label_config([]), 'each name'),
        (label_config().replace('value="$picture"', 'valueList="$pictures"'), 'valueList'),
        (label_config(['<Label/>']), 'each name'),
    ],
)
def test_config_without_brush_labels_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        parse_label_config(config)
