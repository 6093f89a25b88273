"""Build the list of WordNet's nouns that ships with the package.

It needs the database files of WordNet 3.0, `data.noun`, `index.noun` and `noun.exc`, as in Debian's
package wordnet-base: `apt-get install wordnet-base` puts them into /usr/share/wordnet.
"""

import argparse
import gzip
import json
import re
from pathlib import Path

from mmovsam.engine.command_line import readable_errors
from mmovsam.fileio import write_atomic
from mmovsam.vocabulary.wordnet import NOUNS_FILE, imagenet_ids, read_lvis

# WordNet's files of animals, artifacts, body parts, food, natural objects, persons, natural
# phenomena, plants, shapes and substances
THINGS = {'05', '06', '08', '13', '17', '18', '19', '20', '25', '27'}
ABOUT = (
    "WordNet 3.0's nouns for things, the classes of ImageNet and LVIS, and their hypernyms: id, "
    'names, definition and ids of hypernyms; the meanings of ambiguous nouns, the most frequent '
    'one first; and irregular plurals. WordNet 3.0 Copyright 2006 by Princeton University. All '
    'rights reserved. See NOTICE.'
)
QUOTATION = re.compile(r'[;:]\s*"')
"""Begins the examples after a definition."""


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--wordnet', type=Path, default=Path('/usr/share/wordnet'))
    parser.add_argument('--out', type=Path, default=NOUNS_FILE)
    return parser.parse_args()


def database_lines(file):
    """Lines of a database file after its licence."""
    for line in file.read_text(encoding='latin-1').splitlines():
        if not line.startswith('  '):
            yield line


def read_nouns(folder):
    """By id: file (none for individuals, such as towns), names, ids of hypernyms, definition."""
    nouns = {}
    for line in database_lines(folder / 'data.noun'):
        data, _, gloss = line.partition(' | ')
        offset, file, _, count, *fields = data.split()
        names = [name.replace('_', ' ') for name in fields[: 2 * int(count, 16) : 2]]
        pointers = fields[2 * int(count, 16) + 1 :]
        kinds = {'@', '@i'}
        hypernyms = [f'n{pointers[k + 1]}' for k, kind in enumerate(pointers) if kind in kinds]
        file = None if '@i' in pointers else file
        definition = QUOTATION.split(gloss.strip())[0].rstrip('; ')
        nouns[f'n{offset}'] = (file, names, hypernyms, definition)
    return nouns


def read_order(folder):
    """The ids of the meanings of each lower-case noun, the most frequent one first."""
    order = {}
    for line in database_lines(folder / 'index.noun'):
        lemma, _, count, *fields = line.split()
        order[lemma.replace('_', ' ')] = [f'n{offset}' for offset in fields[-int(count) :]]
    return order


def read_plurals(folder):
    """Irregular plurals and their singulars."""
    lines = (folder / 'noun.exc').read_text(encoding='latin-1').splitlines()
    pairs = (line.split() for line in lines if '_' not in line)
    plurals = {plural: singular for plural, singular, *_ in pairs}
    return dict(plurals, people='person')  # for WordNet people are a group only


def wanted(nouns):
    """Ids of all things, of the classes of ImageNet and LVIS, and of all their hypernyms."""
    ids = {wnid for wnid, (file, *_) in nouns.items() if file in THINGS}
    ids |= {wnid for *_, wnid in read_lvis()} - {None}
    ids |= {wnid for subset in ('imagenet1k', 'imagenet22k') for wnid in imagenet_ids(subset)}
    latest = ids
    while latest:
        latest = {hypernym for wnid in latest for hypernym in nouns[wnid][2]} - ids
        ids |= latest
    return ids


def main(args):
    nouns = read_nouns(args.wordnet)
    ids = wanted(nouns)
    synsets = [
        [wnid, ', '.join(names), definition, hypernyms]
        for wnid, (_, names, hypernyms, definition) in sorted(nouns.items())
        if wnid in ids
    ]
    order = {
        noun: [wnid for wnid in senses if wnid in ids]
        for noun, senses in read_order(args.wordnet).items()
    }
    content = dict(
        about=ABOUT,
        synsets=synsets,
        order={noun: senses for noun, senses in order.items() if len(senses) > 1},
        plurals={
            plural: singular
            for plural, singular in read_plurals(args.wordnet).items()
            if order.get(singular)
        },
    )
    text = json.dumps(content, ensure_ascii=False, separators=(',', ':'))
    write_atomic(args.out, gzip.compress(text.encode(), mtime=0))
    print(f'{args.out}: {len(synsets)} synsets, {args.out.stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
    with readable_errors('Nothing is written.'):
        main(parse_args())
