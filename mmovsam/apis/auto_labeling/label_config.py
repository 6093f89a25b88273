"""Parses and makes the label configs of Label Studio projects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from mmdet.visualization import get_palette

from ...vocabulary import Vocabulary

KINDS = ('BrushLabels', 'PolygonLabels', 'RectangleLabels')
EXAMPLE = (
    '<View><Image name="image" value="$image"/><BrushLabels name="label" toName="image">'
    '<Label value="cat"/><Label value="dog"/></BrushLabels></View>'
)


class Label(NamedTuple):
    """A `<Label>` of one of the tags in `KINDS`.

    Attributes:
        name: Its `value`, which is the class name.
        stored: Its name in annotations: its `alias`, or else its `value`.
        synonyms: Its `predicted_values`.
        from_name: The name of its parent tag.
        type: The type of its regions: `'brushlabels'`, `'polygonlabels'` or `'rectanglelabels'`.
    """

    name: str
    stored: str
    synonyms: tuple[str, ...]
    from_name: str
    type: str


class LabelSet(NamedTuple):
    """The labels of one `<Image>`.

    Attributes:
        image_key: Key of the image, or the list of images, in a task's data.
        has_pages: Whether it is a list of images.
        labels: The labels.
    """

    image_key: str
    has_pages: bool
    labels: tuple[Label, ...]

    def vocabulary(self) -> Vocabulary:
        """The labels as class names with their synonyms."""
        synonyms = [label.synonyms for label in self.labels]
        return Vocabulary([label.name for label in self.labels], synonyms=synonyms)


def parse_label_config(config: str) -> dict[str, LabelSet]:
    """Parse a project's label config, XML, to the labels of each `<Image>` by its name.

    If an image has several of `KINDS`, the first is used. Tags with `smartOnly="true"`, which are
    for prompts, and images without labels are ignored.

    Raises:
        ValueError: The config is not XML, or no image in it has labels.
    """
    if not config.strip():
        raise ValueError(f"The project's label config is missing: expected XML such as {EXAMPLE}")
    if '<!DOCTYPE' in config:  # could define exponentially large entities
        raise ValueError('The label config has a document type: leave <!DOCTYPE ...> out.')
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError as error:
        raise ValueError(f'The label config is no XML: {error}.') from None
    labels: dict[str, tuple[Label, ...]] = {}
    for kind in KINDS:
        of_kind: dict[str, tuple[Label, ...]] = {}
        for tag in _tags(root, kind):
            if tag.get('smartOnly') != 'true':
                for image in map(str.strip, tag.get('toName', '').split(',')):
                    of_kind[image] = of_kind.get(image, ()) + _labels(tag, kind)
        labels = of_kind | labels
    label_sets = {}
    for tag in _tags(root, 'Image'):
        name, pages = tag.get('name'), tag.get('valueList')
        key = (pages or tag.get('value', '')).removeprefix('$')
        if key and labels.get(name):
            label_sets[name] = LabelSet(key, pages is not None, labels[name])
    if not label_sets:
        raise ValueError(
            f'The label config has no <Image value="$..."> with <{">, <".join(KINDS)}> that hold a '
            '<Label> each name (labels from task data are not supported; those with '
            f'smartOnly="true" are prompts). Such as {EXAMPLE}'
        )
    return label_sets


def make_label_config(names: Sequence[str], kind: str = KINDS[0]) -> str:
    """Make a label config for the given names, with regions of one of `KINDS` and smart tools."""
    root = ElementTree.Element('View')
    ElementTree.SubElement(root, 'Image', name='image', value='$image', zoom='true')
    tag = ElementTree.SubElement(root, kind, name='label', toName='image')
    for name, color in zip(names, get_palette('random', len(names))):
        background = '#{:02x}{:02x}{:02x}'.format(*color)
        ElementTree.SubElement(tag, 'Label', value=name, background=background)
    smart = dict(toName='image', smart='true', smartOnly='true')
    for kind, name in (('KeyPointLabels', 'point'), ('RectangleLabels', 'box')):
        tag = ElementTree.SubElement(root, kind, name=name, **smart)
        ElementTree.SubElement(tag, 'Label', value=f'Object by a {name}', background='#0080ff')
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding='unicode') + '\n'


def _tags(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [tag for tag in root.iter() if tag.tag.lower() == name.lower()]


def _labels(parent: ElementTree.Element, kind: str) -> tuple[Label, ...]:
    return tuple(
        Label(
            tag.get('value'),
            tag.get('alias') or tag.get('value'),
            tuple(filter(None, map(str.strip, tag.get('predicted_values', '').split(',')))),
            parent.get('name', ''),
            kind.lower(),
        )
        for tag in _tags(parent, 'Label')
        if tag.get('value')
    )
