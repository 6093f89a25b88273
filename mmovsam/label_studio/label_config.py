"""What a Label Studio project calls things: the brush labels of its label config."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree

EXAMPLE = (
    '<View><Image name="image" value="$image"/><BrushLabels name="label" toName="image">'
    '<Label value="cat"/><Label value="dog"/></BrushLabels></View>'
)


@dataclass(frozen=True)
class BrushLabel:
    """A `<Label>` of a `<BrushLabels>`.

    Attributes:
        name: Its `value`, what the model reads.
        stored: What an annotation holds: its `alias` if it has one, else its `value`.
        synonyms: More names, from `predicted_values`, where Label Studio has the names that a model
            uses for the label.
        from_name: The name of the `<BrushLabels>`.
    """

    name: str
    stored: str
    synonyms: tuple[str, ...]
    from_name: str


@dataclass(frozen=True)
class LabelSet:
    """What may be found in the images of one `<Image>`.

    Attributes:
        image_key: Where a task's data has the image.
        labels: The K labels.
    """

    image_key: str
    labels: tuple[BrushLabel, ...]


def parse_label_config(config: str) -> dict[str, LabelSet]:
    """Read the label sets of a project.

    Args:
        config: The label config, XML.

    Returns:
        For the name of each `<Image>` that has brush labels, those.

    Raises:
        ValueError: It is no XML, or no image in it has brush labels of its own.
    """
    if not isinstance(config, str) or not config.strip():
        raise ValueError(f"The project's label config is missing: expected XML such as {EXAMPLE}")
    if '<!DOCTYPE' in config:  # it could define entities without end
        raise ValueError('The label config has a document type: leave <!DOCTYPE ...> out.')
    try:
        root = ElementTree.fromstring(config)
    except ElementTree.ParseError as error:
        raise ValueError(f'The label config is no XML: {error}.') from None
    images = {
        tag.get('name'): tag.get('value', '').removeprefix('$') for tag in _tags(root, 'Image')
    }
    labels: dict[str, list[BrushLabel]] = {}
    for tag in _tags(root, 'BrushLabels'):
        for target in tag.get('toName', '').split(','):
            labels.setdefault(target.strip(), []).extend(_labels(tag))
    sets = {
        name: LabelSet(key, tuple(labels[name]))
        for name, key in images.items()
        if key and labels.get(name)
    }
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
