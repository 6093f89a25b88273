"""Fonts that have the letters of names in pictures."""

from collections.abc import Iterable
from functools import lru_cache, partial
from os import PathLike
from pathlib import Path

from matplotlib.font_manager import findfont, findSystemFonts, fontManager, get_font
from mmengine.visualization import Visualizer

from .logs import warn

DEFAULT = 'DejaVu Sans'  # comes with Matplotlib
_NO_FONTS = 'Last Resort', '.'  # have a box for each letter
_told = set()  # letters that a warning named


def font_families(names: Iterable[str], font: str | PathLike | None = None) -> list[str]:
    """The families of fonts that Matplotlib draws names with; each letter is of the first with it.

    Where neither `font` nor Matplotlib's own font has a letter, fonts of the system are looked
    through. A warning says once which letters no font has.

    Args:
        names: What is drawn.
        font: The family of an installed font, or a file, that comes first.

    Raises:
        ValueError: There is no such font.
    """
    first = (DEFAULT,) if font is None else (_family(str(font)), DEFAULT)
    letters = {ord(c) for name in names for c in name if c.isprintable() and not c.isspace()}
    letters = frozenset(letters).difference(*(_letters(findfont(family)) for family in first))
    found, missing = _search(letters) if letters else ((), frozenset())
    if missing - _told:
        _told.update(missing)
        shown = ' '.join(map(chr, sorted(missing)[:10])) + ' ...' * (len(missing) > 10)
        warn(
            f'No font has {len(missing)} of the letters of names in pictures ({shown}): squares '
            'stand for them. Install a font that has them, such as Noto Sans CJK, or give its file '
            '(--font, font=...).'
        )
    return [*first, *found]


def use_fonts(
    visualizer: Visualizer, names: Iterable[str], font: str | PathLike | None = None
) -> None:
    """Let a visualizer draw names, one at a time, with the fonts of `font_families`.

    Args:
        visualizer: It is changed.
        names: As for `font_families`.
        font: Likewise.
    """
    draw_texts = partial(type(visualizer).draw_texts, visualizer)
    visualizer.draw_texts = partial(draw_texts, font_families=[font_families(names, font)])


@lru_cache
def _family(font: str) -> str:
    """The family of a file or of a name; a file is made known to Matplotlib."""
    if Path(font).is_file():
        try:
            fontManager.addfont(font)
            return get_font(font).family_name
        except (RuntimeError, OSError) as error:
            raise ValueError(f'{font} is no font that Matplotlib reads: {error}') from None
    known = {entry.name for entry in fontManager.ttflist}
    if font not in known:
        raise ValueError(
            f'There is no font {font}: give a file (.ttf, .otf), or one of '
            f'{", ".join(sorted(known)[:20])} ...'
        )
    return font


@lru_cache
def _letters(path: str) -> frozenset[int]:
    """The code points that a font has; none, if Matplotlib cannot draw with it."""
    try:
        font = get_font(path)
        return frozenset(font.get_charmap() if font.scalable else ())
    except Exception:  # what broken fonts lead to
        return frozenset()


@lru_cache
def _search(letters: frozenset[int]) -> tuple[tuple[str, ...], frozenset[int]]:
    """Families of the system that have the most of letters, and the letters that none has."""
    paths = [*findSystemFonts(), *(entry.fname for entry in fontManager.ttflist)]
    has = {path: letters & _letters(path) for path in dict.fromkeys(paths)}
    has = {
        path: found
        for path, found in has.items()
        if found and not get_font(path).family_name.startswith(_NO_FONTS)
    }
    families = []
    while any(letters & found for found in has.values()):
        best = max(has, key=lambda path: (len(has[path] & letters), path))
        letters -= has[best]
        family = get_font(best).family_name
        if family not in {entry.name for entry in fontManager.ttflist}:  # installed since
            fontManager.addfont(best)
        families.append(family)
    return tuple(families), letters
