"""Links between the pages of the documentation, and what mkdocs.yml makes of them."""

import pkgutil
import re
import runpy
import shlex
from collections import Counter
from pathlib import Path

import pytest
import yaml

from mmovsam import apis

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted((ROOT / 'docs').rglob('*.md'))
PAGES = [ROOT / name for name in ('README.md', 'CHANGELOG.md', 'CONTRIBUTING.md')] + DOCS
LINK = re.compile(r'\[[^][]*(?:\[[^][]*\][^][]*)*\]\(([^()\s]+)\)')


def without_code(text):
    """Markdown without blocks and spans of code, whose brackets are no links."""
    text = re.sub(r'^( *)```.*?^\1```', '', text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r'`[^`\n]*`', '', text)


def anchors(path):
    """What GitHub calls the headings of a page."""
    text = re.sub(r'^( *)```.*?^\1```', '', path.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = Counter()
    for heading in re.findall(r'^#+ +(.+?) *$', text, re.MULTILINE):
        words = re.sub(r'\[([^]]*)\]\([^)]*\)', r'\1', heading).lower()
        anchor = re.sub(r'[^\w\- ]', '', words).replace(' ', '-')
        found[anchor] += 1
    return {f'{name}-{i}' if i else name for name, count in found.items() for i in range(count)}


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_and_images_of_a_page_are_there(page):
    broken = []
    for target in LINK.findall(without_code(page.read_text())):
        if re.match(r'[a-z]+:', target):
            continue
        name, _, anchor = target.partition('#')
        path = (page.parent / name).resolve() if name else page
        outside = page in DOCS and not path.is_relative_to(ROOT / 'docs')  # of the site
        if outside or not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(target)
    assert not broken
    text = '[a](b.md) `[no](no)` [![x](e.png)](f.md#g)\n```\n[no](no)\n```\n'
    assert LINK.findall(without_code(text)) == ['b.md', 'f.md#g']


def test_every_page_is_in_the_navigation_of_the_site():
    nav = yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav']

    def pages(items):
        for item in items:
            if isinstance(item, dict):
                (item,) = item.values()
            yield from pages(item) if isinstance(item, list) else [item]

    listed = sorted(pages(nav))
    assert listed == sorted(path.relative_to(ROOT / 'docs').as_posix() for path in DOCS)


def test_reference_is_about_what_is_there_and_has_all_that_python_code_calls():
    names = [
        name
        for page in (ROOT / 'docs' / 'reference').glob('*.md')
        for name in re.findall(r'^::: (\S+)', page.read_text(), re.MULTILINE)
    ]
    for name in names:
        pkgutil.resolve_name(name)
    named = {name.rpartition('.')[2] for name in names}
    assert set(apis.__all__) - {'EXAMPLE_PHOTOS'} <= named  # a dict, named in the page's text


def documented_commands():
    """Page, script and arguments of each call of this package's tools in blocks of code."""
    commands = runpy.run_path(str(ROOT / 'mmovsam_command.py'))['COMMANDS']
    scripts = {f'mmovsam {name}': f'tools/{tool}' for name, (tool, _) in commands.items()}
    for page in PAGES:
        for block in re.findall(r'^```bash\n(.*?)^```', page.read_text(), re.M | re.S):
            for line in block.replace('\\\n', ' ').splitlines():
                words = shlex.split(line.partition(' && ')[2] or line, comments=True)
                for start in range(len(words)):
                    name = ' '.join(words[start : start + 2])
                    script = scripts.get(name) or re.sub(r'^\S*python\S* ', '', name)
                    if re.fullmatch(r'(tools|dev)/\w+\.py', script):
                        yield page.name, script, words[start + 2 :]
                        break


COMMAND_LINES = list(documented_commands())


@pytest.mark.parametrize('script', sorted({script for _, script, _ in COMMAND_LINES}))
def test_documented_commands_have_valid_arguments(script, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'dev')
    tool = runpy.run_path(str(ROOT / script))
    for page, called, arguments in COMMAND_LINES:
        if called == script and 'parse_args' in tool:
            print(page, script, *arguments)  # what pytest shows if it is refused
            monkeypatch.setattr('sys.argv', [script, *arguments])
            tool['parse_args']()
