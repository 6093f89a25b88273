"""Fonts with the letters of names in pictures."""

from collections.abc import Iterable
from functools import lru_cache, partial
from os import PathLike
from pathlib import Path

from matplotlib.font_manager import findfont, findSystemFonts, fontManager, get_font
from mmengine.visualization import Visualizer

from .logs import warn

DEFAULT = 'DejaVu Sans'  # comes with Matplotlib
_PLACEHOLDER_FONTS = 'Last Resort', '.'  # have a box for each letter
_warned_letters = set()


def font_families(names: Iterable[str], font: str | PathLike | None = None) -> list[str]:
    """Font families with the letters of names, in the order in which Matplotlib tries them.

    They are `font`, Matplotlib's default, and system fonts for letters that these lack. Letters
    that no font has are logged once.

    Args:
        names: The texts to draw.
        font: The family of an installed font, or a file.

    Raises:
        ValueError: There is no such font.
    """
    preferred = (DEFAULT,) if font is None else (_family(str(font)), DEFAULT)
    letters = {ord(c) for name in names for c in name if c.isprintable() and not c.isspace()}
    letters = frozenset(letters).difference(*(_letters(findfont(family)) for family in preferred))
    fallbacks, missing = _search(letters) if letters else ((), frozenset())
    if missing - _warned_letters:
        _warned_letters.update(missing)
        shown = ' '.join(map(chr, sorted(missing)[:10])) + ' ...' * (len(missing) > 10)
        warn(
            f'No font has {len(missing)} of the letters of names in pictures ({shown}): squares '
            'stand for them. Install a font that has them, such as Noto Sans CJK, or give its file '
            '(--font, font=...).'
        )
    return [*preferred, *fallbacks]


def use_fonts(
    visualizer: Visualizer, names: Iterable[str], font: str | PathLike | None = None
) -> None:
    """Make a visualizer draw each text with the fonts of `font_families`."""
    draw_texts = partial(type(visualizer).draw_texts, visualizer)
    visualizer.draw_texts = partial(draw_texts, font_families=[font_families(names, font)])


@lru_cache
def _family(font: str) -> str:
    """The font family of a name, or of a file, which is registered in Matplotlib."""
    if Path(font).is_file():
        try:
            fontManager.addfont(font)
            return get_font(font).family_name
        except (RuntimeError, OSError) as error:
            raise ValueError(f'{font} is no font that Matplotlib reads: {error}') from None
    families = {entry.name for entry in fontManager.ttflist}
    if font not in families:
        raise ValueError(
            f'There is no font {font}: give a file (.ttf, .otf), or one of '
            f'{", ".join(sorted(families)[:20])} ...'
        )
    return font


@lru_cache
def _letters(path: str) -> frozenset[int]:
    """The code points of a font; none if Matplotlib cannot draw with it."""
    try:
        font = get_font(path)
        return frozenset(font.get_charmap() if font.scalable else ())
    except Exception:  # what broken fonts lead to
        return frozenset()


@lru_cache
def _search(letters: frozenset[int]) -> tuple[tuple[str, ...], frozenset[int]]:
    """System font families, greedily by the number of letters, and the letters that none has."""
    paths = [*findSystemFonts(), *(entry.fname for entry in fontManager.ttflist)]
    coverage = {path: letters & _letters(path) for path in dict.fromkeys(paths)}
    coverage = {
        path: covered
        for path, covered in coverage.items()
        if covered and not get_font(path).family_name.startswith(_PLACEHOLDER_FONTS)
    }
    families = []
    while any(letters & covered for covered in coverage.values()):
        best = max(coverage, key=lambda path: (len(coverage[path] & letters), path))
        letters -= coverage[best]
        family = get_font(best).family_name
        if family not in {entry.name for entry in fontManager.ttflist}:  # newly installed
            fontManager.addfont(best)
        families.append(family)
    return tuple(families), letters
