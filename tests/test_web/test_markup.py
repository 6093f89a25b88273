"""HTML of a session: what is there is shown, and what users wrote is text."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from mmovsam.web import markup
from mmovsam.web.labels import Answer

EVIL = '<img src=x onerror="alert(1)">&${1}{{2}}`'
MASK = np.ones((4, 4), bool)


class Reader(HTMLParser):
    """Elements with their attributes, and all text."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.text = [], ''
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def find(self, tag, kind=None, **attrs):
        attrs |= {} if kind is None else {'class': kind}
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(key) == value for key, value in attrs.items())
        ]


@pytest.fixture
def opened(session, picture):
    assert markup.marks(session) == ''
    session.open(picture, 'cat.png')
    return session


def test_marks_show_mask_points_box_and_corner_on_the_picture(opened, picture):
    opened.drag(10, 12, 70, 50)
    opened.click(20, 30)
    opened.click(60.5, 10, foreground=False)
    opened.click_corner(3, 4)
    html = markup.marks(opened)
    found = Reader(html)
    assert found.find('svg', viewbox='0 0 80 60')
    assert found.find('path', 'mask', d=opened.answer.outline)
    assert found.find('rect', 'box', x='10.00', y='12.00', width='60.00')
    assert found.find('path', 'dot yes', d='M20.00 30.00h0')
    assert found.find('path', 'dot no', d='M60.50 10.00h0')
    assert found.find('path', 'dot corner', d='M3.00 4.00h0')
    ratio = re.search(r'--ratio:([\d.]+)', markup.picture(picture))[1]
    assert f'--ratio:{ratio}"' in html and float(ratio) == pytest.approx(80 / 60, abs=1e-4)


def test_marks_show_the_objects_of_the_list_in_their_colors(opened):
    opened.click(20, 30)
    opened.add('plum')
    html = markup.marks(opened)
    assert 'plum' in Reader(html).text and markup.color(1) in html
    assert Reader(html).find('path', 'object') and 'class="mask"' not in html
    assert markup.color(1) in markup.object_list(opened.objects)
    assert markup.color(1) != markup.color(2)


@pytest.mark.parametrize(
    'said, text',
    [
        (
            Answer(MASK, 0.91, ('owl', 'cat', 'dog', 'bee', 'ant'), (0.6, 0.3, 0.06, 0.03, 0.001)),
            'owlowl60%cat30%dog6%bee3%ant<1%Mask quality 91%',
        ),
        (None, 'Nothing is clicked yet.'),
        (Answer(~MASK, 0, ('owl',), (1.0,)), 'The mask is empty. Undo, and click elsewhere.'),
        (Answer(MASK, 0.5, (), ()), 'Mask quality 50%. This model gives no names.'),
    ],
)
def test_answer_shows_the_names_with_their_scores_or_says_why_there_are_none(said, text):
    found = Reader(markup.answer(said))
    assert found.text == text
    numbers = [button['data-pick'] for button in found.find('button')]
    assert numbers == (list('01234') if 'owl60%' in text else [])


def test_what_users_write_is_text_everywhere(opened):
    opened.click(20, 30)
    opened.add(EVIL)
    for html in (
        markup.marks(opened),
        markup.object_list(opened.objects),
        markup.answer(Answer(MASK, 1.0, (EVIL,), (1.0,))),
        markup.status(EVIL, 'error'),
    ):
        found = Reader(html)
        assert not found.find('img')
        assert EVIL in found.text or found.find('input', value=EVIL)
