"""What a Label Studio project calls things: the brush labels of its label config."""

from __future__ import annotations

from typing import NamedTuple
from xml.etree import ElementTree

EXAMPLE = (
    '<View><Image name="image" value="$image"/><BrushLabels name="label" toName="image">'
    '<Label value="cat"/><Label value="dog"/></BrushLabels></View>'
)


class BrushLabel(NamedTuple):
    """A `<Label>` of a `<BrushLabels>`."""

    name: str
    """Its `value`, what the model reads."""
    stored: str
    """What an annotation holds: its `alias` if it has one, else its `value`."""
    synonyms: tuple[str, ...]
    """Its `predicted_values`, where Label Studio has the names that a model uses for it."""
    from_name: str
    """The name of the `<BrushLabels>`."""


class LabelSet(NamedTuple):
    """What may be found in the images of one `<Image>`."""

    image_key: str
    """Where a task's data has the image."""
    labels: tuple[BrushLabel, ...]


def parse_label_config(config: str) -> dict[str, LabelSet]:
    """Read the label sets of a project from its label config, XML.

    Returns:
        For the name of each `<Image>` that has brush labels, those.

    Raises:
        ValueError: It is no XML, or no image in it has brush labels of its own.
    """
    if not config.strip():
        raise ValueError(f"The project's label config is missing: expected XML such as {EXAMPLE}")
    if '<!DOCTYPE' in config:  # it could define entities without end
        raise ValueError('The label config has a document type: leave <!DOCTYPE ...> out.')
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError as error:
        raise ValueError(f'The label config is no XML: {error}.') from None
    labels: dict[str, list[BrushLabel]] = {}
    for tag in _tags(root, 'BrushLabels'):
        for target in tag.get('toName', '').split(','):
            labels.setdefault(target.strip(), []).extend(_labels(tag))
    sets = {}
    for tag in _tags(root, 'Image'):
        name, key = tag.get('name'), tag.get('value', '').removeprefix('$')
        if key and labels.get(name):
            sets[name] = LabelSet(key, tuple(labels[name]))
    if not sets:
        raise ValueError(
            'The label config has no <Image value="$..."> with <BrushLabels> that hold a <Label> '
            f'each name (labels from task data and valueList are not supported). Such as {EXAMPLE}'
        )
    return sets


def _tags(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [tag for tag in root.iter() if tag.tag.lower() == name.lower()]


def _labels(brush: ElementTree.Element) -> list[BrushLabel]:
    return [
        BrushLabel(
            tag.get('value'),
            tag.get('alias') or tag.get('value'),
            tuple(filter(None, map(str.strip, tag.get('predicted_values', '').split(',')))),
            brush.get('name', ''),
        )
        for tag in _tags(brush, 'Label')
        if tag.get('value')
    ]
