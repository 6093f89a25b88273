"""What Label Studio 1.23 sends and keeps, as its own code writes it."""

import numpy as np

LABELS = ('plum', 'fig')


def label_config(labels=LABELS, image='image', brush='label'):
    """A label config; labels are names or whole `<Label/>` tags."""
    tags = [label if label.startswith('<') else f'<Label value="{label}"/>' for label in labels]
    return f"""<View>
      <Image name="{image}" value="$picture" zoom="true"/>
      <BrushLabels name="{brush}" toName="{image}" smart="false">{''.join(tags)}</BrushLabels>
      <KeyPointLabels name="point" toName="{image}" smart="true" smartOnly="true">
        <Label value="Object"/>
      </KeyPointLabels>
      <RectangleLabels name="box" toName="{image}" smart="true" smartOnly="true">
        <Label value="Object in a box"/>
      </RectangleLabels>
    </View>"""


def region(name, kind, value, width, height, changes):
    """A region that was drawn on an image of that size."""
    size = dict(original_width=width, original_height=height, image_rotation=0)
    about = dict(id='LT927Lkkfh', from_name=name, to_name='image', type=kind, origin='manual')
    return {**about, **size, 'value': value, **changes}


def point(x, y, width, height, positive=True, **changes):
    """A smart point at a pixel of an image of that size."""
    value = dict(x=100 * x / width, y=100 * y / height, width=0.26)
    value.update(labels=['Object'], keypointlabels=['Object'])
    changes = dict(is_positive=positive) | changes
    return region('point', 'keypointlabels', value, width, height, changes)


def rectangle(box, width, height, rotation=0, **changes):
    """A smart rectangle around `(x1, y1, x2, y2)` in pixels of an image of that size."""
    x1, y1, x2, y2 = map(float, box)
    value = dict(x=100 * x1 / width, y=100 * y1 / height, rotation=rotation)
    value.update(width=100 * (x2 - x1) / width, height=100 * (y2 - y1) / height)
    value['rectanglelabels'] = ['Object in a box']
    return region('box', 'rectanglelabels', value, width, height, changes)


def prediction_request(regions, address, config, **changes):
    """The body of a POST to `/predict` when somebody has drawn `regions`."""
    context = None if regions is None else dict(result=regions)
    task = dict(id=3, data=dict(picture=address), annotations=[], predictions=[], drafts=[])
    params = dict(login=None, password=None, context=context)
    request = dict(tasks=[task], project='3.1795381618', label_config=config, params=params)
    return {**request, **changes}


def decode_brush(rle, shape):
    """A mask from `rle-pack`'s bytes, bit by bit; its pixels must be alike in all channels."""
    bits = ''.join(f'{byte:08b}' for byte in rle)
    position = 0

    def read(width):
        nonlocal position
        position += width
        return int(bits[position - width : position], 2)

    size, value_bits = read(32), read(5) + 1
    run_bits = [read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < size:
        is_run, length = read(1), read(run_bits[read(2)]) + 1
        if is_run:
            values += [read(value_bits)] * length
        else:
            values += [read(value_bits) for _ in range(length)]
    assert len(bits) - position < 8 and len(values) == size
    pixels = np.array(values).reshape(*shape, 4)
    assert (pixels == pixels[..., :1]).all() and set(np.unique(pixels)) <= {0, 255}
    return pixels[..., 0] == 255
