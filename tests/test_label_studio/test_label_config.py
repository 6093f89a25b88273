"""Label configs as people write them."""

import xml.etree.ElementTree as ET

import pytest
from label_studio_requests import label_config

from mmovsam.apis.auto_labeling.label_config import KINDS, make_label_config, parse_label_config


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


def test_brush_comes_before_polygons_and_these_before_rectangles():
    tags = [
        f'<{kind} name="{kind}" toName="image"><Label value="{kind[0]}"/></{kind}>'
        for kind in ('RectangleLabels', 'PolygonLabels', 'BrushLabels')
    ]
    for number, expected in enumerate('RPB', 1):
        config = f'<View><Image name="image" value="$a"/>{"".join(tags[:number])}</View>'
        assert [label.name for label in parse_label_config(config)['image'].labels] == [expected]


@pytest.mark.parametrize('kind', KINDS)
def test_config_that_is_made_has_the_names_and_takes_clicks(kind):
    names = ['a "cat" & co', 'Eule: grün', '<b>']
    config = make_label_config(names, kind)
    labels = parse_label_config(config)['image']
    assert [label.name for label in labels.labels] == names
    assert {label.type for label in labels.labels} == {kind.lower()}
    assert labels.vocabulary().names == tuple(names)
    smart = [tag.tag for tag in ET.fromstring(config) if tag.get('smart') == 'true']
    assert smart == ['KeyPointLabels', 'RectangleLabels']


@pytest.mark.parametrize(
    'config, message',
    [
        ('  ', 'label config is missing'),
        ('<View>', 'is no XML'),
        ('<!DOCTYPE v [<!ENTITY a "b">]><View/>', 'has a document type'),
        ('<View/>', 'no <Image'),
        (label_config().replace('BrushLabels', 'Labels'), '<BrushLabels>, <PolygonLabels>'),
        (label_config().replace('smart="false"', 'smartOnly="true"'), 'are prompts'),
        (label_config([]), 'each name'),
        (label_config(['<Label/>']), 'each name'),
    ],
)
def test_config_without_labels_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        parse_label_config(config)
