"""Letters that Matplotlib's own font has not, from other fonts."""

import matplotlib.font_manager as font_manager
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from pycocotools import mask as coco_mask

from mmovsam import fonts
from mmovsam.apis.auto_labeling.overlay import draw_objects

CAT, DOG = '猫', '犬'


def make_font(path, family, letters, height=900):
    """A font whose letters are bars."""
    builder = FontBuilder(1000, isTTF=True)
    glyphs = {'.notdef': 0, **{f'g{i}': ord(letter) for i, letter in enumerate(letters)}}
    builder.setupGlyphOrder(list(glyphs))
    builder.setupCharacterMap({code: name for name, code in glyphs.items() if code})
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for point in ((100, height), (800, height), (800, 0)):
        pen.lineTo(point)
    pen.closePath()
    builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (1000, 100)))
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable(dict(familyName=family, styleName='Regular'))
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return str(path)


@pytest.fixture(autouse=True)
def system(monkeypatch):
    """The fonts of a system: those that Matplotlib comes with, and what a test adds."""
    own = [e for e in font_manager.fontManager.ttflist if 'matplotlib' in e.fname]
    monkeypatch.setattr(font_manager.fontManager, 'ttflist', own)
    installed = []
    monkeypatch.setattr(fonts, 'findSystemFonts', lambda: installed)
    monkeypatch.setattr(fonts, '_warned_letters', set())
    caches = fonts._family, fonts._search, fonts._letters
    for cache in (*caches, font_manager.fontManager._findfont_cached):
        cache.cache_clear()
    yield installed
    for cache in (*caches, font_manager.fontManager._findfont_cached):
        cache.cache_clear()


def test_fonts_of_the_system_are_used_for_letters_that_matplotlib_has_not(tmp_path, system, logged):
    assert fonts.font_families(['owl', 'Straße', 'кот']) == ['DejaVu Sans']
    system.append(make_font(tmp_path / 'a.ttf', 'Cats', CAT))
    system.append(make_font(tmp_path / 'b.ttf', 'Animals', CAT + DOG))
    assert fonts.font_families(['owl', DOG + CAT]) == ['DejaVu Sans', 'Animals']
    assert not logged.text


def test_letters_of_several_fonts_are_put_together(tmp_path, system, logged):
    (tmp_path / 'c.ttf').write_bytes(b'no font')
    system += [
        make_font(tmp_path / f'{name}.ttf', name, letter)
        for name, letter in zip(('Cats', 'Dogs'), (CAT, DOG))
    ]
    system.append(str(tmp_path / 'c.ttf'))
    assert sorted(fonts.font_families([CAT, DOG])) == ['Cats', 'DejaVu Sans', 'Dogs']
    assert not logged.text


def test_letters_that_no_font_has_are_told_once(logged):
    for _ in range(3):
        assert fonts.font_families([f'{CAT} 1', f'{CAT}{DOG}\n']) == ['DejaVu Sans']
    assert logged.text.count('No font has 2 of the letters') == 1 and '--font' in logged.text
    fonts.font_families(['鳥'])
    assert logged.text.count('No font has 1 of the letters') == 1


def test_a_font_may_be_given_by_its_file_or_its_family(tmp_path):
    path = make_font(tmp_path / 'a.ttf', 'Given', CAT)
    assert fonts.font_families([CAT], path) == ['Given', 'DejaVu Sans']
    assert fonts.font_families([CAT], 'Given') == ['Given', 'DejaVu Sans']
    (tmp_path / 'b.ttf').write_bytes(b'no font')
    for wrong, message in (('No Such', 'no font No Such'), (tmp_path / 'b.ttf', 'is no font')):
        with pytest.raises(ValueError, match=message):
            fonts.font_families([CAT], wrong)


@pytest.mark.parametrize('given', [False, True])
def test_pictures_have_the_letters_of_the_font(tmp_path, system, given):
    """The font's letter is a filled bar, where a square would be a frame."""
    path = make_font(tmp_path / 'a.ttf', 'Bars', CAT)
    if not given:
        system.append(path)
    image = np.zeros((900, 900, 3), np.uint8)
    counts = coco_mask.encode(np.asfortranarray(image[..., 0]))['counts']
    thing = dict(name=CAT, score=1.0, bbox=[100, 400, 9, 9], counts=counts, area=1)
    drawn = draw_objects(image, [thing], [CAT], 80, font=path if given else None)
    runs = (drawn[..., 0] > 200).sum(1)
    bar = runs[runs > 0]
    assert (bar > 40).sum() > 40
