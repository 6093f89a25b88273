"""What the page shows of a session, as HTML. Whatever a user wrote is escaped here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from .labels import Answer, LabeledObject
from .pictures import data_url
from .session import Session

PALETTE = ('#ec4899', '#06b6d4', '#84cc16', '#f59e0b', '#8b5cf6', '#10b981', '#ef4444', '#6366f1')
THUMBNAIL_SIDE = 160

EMPTY_ANSWER = '<p class="hint">Nothing is clicked yet.</p>'
EMPTY_LIST = '<p class="hint">Objects that you add are listed here.</p>'


def empty_stage(with_examples: bool) -> str:
    """What is there before the first picture."""
    also = ', or choose one of those below' if with_examples else ''
    return f'<div class="empty">Open a picture{also}.</div>'


def picture(image: np.ndarray) -> str:
    """The picture, `(H, W, 3)` uint8 RGB, as wide as the page lets it be."""
    height, width = image.shape[:2]
    return (
        f'<img class="fit" style="--ratio:{width / height:.5f}" src="{data_url(image)}" '
        f'alt="The picture, {width} by {height} pixels" draggable="false">'
    )


def marks(session: Session) -> str:
    """All that is drawn on the picture: objects, the mask in work, points and the box."""
    if session.shape is None:
        return ''
    height, width = session.shape
    shapes = [_outline('object', thing.outline, color(thing.number)) for thing in session.objects]
    if session.answer is not None:
        shapes.append(_outline('mask', session.answer.outline))
    prompt = session.prompt
    if prompt.box is not None:
        x1, y1, x2, y2 = prompt.box
        rectangle = f'x="{x1:.2f}" y="{y1:.2f}" width="{x2 - x1:.2f}" height="{y2 - y1:.2f}"'
        shapes += [f'<rect class="{layer}" {rectangle}/>' for layer in ('halo', 'box')]
    if prompt.corner is not None:
        shapes.append(_dot('corner', *prompt.corner))
    shapes += [_dot('yes' if label else 'no', x, y) for x, y, label in prompt.points]
    tags = [_tag(thing, width, height) for thing in session.objects]
    return (
        f'<div class="fit" style="--ratio:{width / height:.5f}">'
        f'<svg viewBox="0 0 {width} {height}">{"".join(shapes)}</svg>{"".join(tags)}'
        '<div class="band"></div></div>'
    )


def _tag(thing: LabeledObject, width: int, height: int) -> str:
    """An object's name at a corner of its box, on the side that leaves room for it."""
    x, y, w, _ = thing.bbox
    left, right = x / width, 1 - (x + w) / width
    side = f'left:{left:.2%}' if left < right else f'right:{right:.2%}'
    style = f'{side};top:{y / height:.2%};--color:{color(thing.number)}'
    return f'<span class="tag" style="{style}">{escape(thing.name)}</span>'


def _outline(kind: str, path: str, paint: str = '') -> str:
    style = f' style="--color:{paint}"' if paint else ''
    return ''.join(f'<path class="{layer}" d="{path}"{style}/>' for layer in ('halo', kind))


def _dot(kind: str, x: float, y: float) -> str:
    """A line of no length with round ends, whose width does not grow with the picture."""
    at = f'd="M{x:.2f} {y:.2f}h0"'
    return ''.join(f'<path class="dot {layer}" {at}/>' for layer in ('rim', kind, f'{kind} core'))


def color(number: int) -> str:
    """Of an object of the list."""
    return PALETTE[(number - 1) % len(PALETTE)]


def answer(said: Answer | None) -> str:
    """The name of the object in work, and the best names to choose from."""
    if said is None:
        return EMPTY_ANSWER
    if not said.mask.any():
        return '<p class="hint">The mask is empty. Undo, and click elsewhere.</p>'
    if not said.names:
        return f'<p class="hint">Mask quality {said.quality:.0%}. This model gives no names.</p>'
    rows = ''.join(
        f'<li><button data-pick="{index}" title="Call it {escape(name)}"'
        f' style="--share:{score:.1%}"><span>{escape(name)}</span>'
        f'<b>{"&lt;1%" if score < 0.01 else f"{score:.0%}"}</b>'
        '</button></li>'
        for index, (name, score) in enumerate(zip(said.names, said.name_scores))
    )
    return (
        f'<p class="best">{escape(said.names[0])}</p><ol class="names">{rows}</ol>'
        f'<p class="hint">Mask quality {said.quality:.0%}</p>'
    )


def object_list(objects: Sequence[LabeledObject]) -> str:
    """The list: a color, a name that can be edited, and a button that removes, for each object."""
    if not objects:
        return EMPTY_LIST
    rows = ''.join(
        f'<li style="--color:{color(thing.number)}"><i></i>'
        f'<input data-rename="{thing.number}" value="{escape(thing.name)}" '
        f'aria-label="Name of object {thing.number}">'
        f'<button data-pick="{thing.number}" title="Remove" aria-label="Remove">✕</button></li>'
        for thing in objects
    )
    return f'<ul class="objects">{rows}</ul>'


def examples(pictures: Mapping[str, np.ndarray]) -> str:
    """Small pictures to choose from, each `(H, W, 3)` uint8 RGB by its title."""
    buttons = ''.join(
        f'<button data-pick="{index}" aria-label="{escape(title)}" title="{escape(title)}">'
        f'<img src="{data_url(image, THUMBNAIL_SIDE)}" alt="" draggable="false"></button>'
        for index, (title, image) in enumerate(pictures.items())
    )
    return f'<div class="examples">{buttons}</div>'


def status(text: str, kind: str = '') -> str:
    """A line; `kind` is `'busy'` while something goes on, `'error'` for what went wrong."""
    return f'<div class="status {kind}" role="status">{escape(text)}</div>'


def names_note(names: Sequence[str], own: bool) -> str:
    """How many names there are to choose from, the model's own or those that were typed."""
    number = count(len(names), 'name')
    return f'{number}, those of the model.' if own else f'{number} in force.'


def count(number: int, what: str) -> str:
    """Such as '1 name' or '1,200 names'."""
    return f'{number:,} {what}' if number == 1 else f'{number:,} {what}s'
