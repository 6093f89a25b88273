"""Coverage-guided fuzzing of readers of others' files, one after the other, with atheris.

python dev/fuzz/fuzz.py FOLDER [READER ...] [-max_total_time=300 and other options of libFuzzer]
"""

import argparse
import contextlib
import os
import random
import sys
import traceback
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
with atheris.instrument_imports(include=['mmovsam']):
    from fuzz.mutating import mutated_json
    from fuzz.readers import READERS, REFUSED


def main() -> None:
    """Fuzz each reader in a process of its own, until something is found or the time is over."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('folder', type=Path, help='of inputs, one for each reader in it')
    parser.add_argument('readers', nargs='*', help=f'by default all: {", ".join(READERS)}')
    parser.add_argument('--go-on', action='store_true', help='after errors; only a crash ends it')
    args, options = parser.parse_known_args()
    for name in args.readers or READERS:
        print(f'== {name}', file=sys.stderr, flush=True)
        if child := os.fork():
            os.waitpid(child, 0)
        else:
            fuzz(name, args.folder / name, options, args.go_on)


def fuzz(name: str, folder: Path, options: list[str], go_on: bool) -> None:
    """Fuzz a reader, and end this process.

    Args:
        name: Of the reader.
        folder: Inputs that find new code come here.
        options: Of libFuzzer.
        go_on: Whether errors are printed, each once, and do not end it.
    """
    reader = READERS[name]
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(reader.seeds()):
        (folder / f'seed{number}').write_bytes(seed)
        with contextlib.suppress(*REFUSED):
            reader.read(seed)  # the first takes longer, since it builds a model
    places = set()

    def test(data: bytes) -> None:
        try:
            reader.read(data)
        except REFUSED:
            pass
        except Exception as error:
            if not go_on:
                raise
            place = type(error), *map(str, traceback.extract_tb(error.__traceback__)[-3:])
            if place not in places:
                places.add(place)
                traceback.print_exc()
                print(f'FINDING {data!r}', file=sys.stderr)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        changed = mutated_json(data, chance) if reader.is_json and chance.random() < 0.8 else None
        return atheris.Mutate(data, max_size) if changed is None else changed[:max_size]

    options = ['-timeout=20', '-rss_limit_mb=4000', '-max_len=20000', *options]
    atheris.Setup([sys.argv[0], *options, str(folder)], test, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == '__main__':
    main()
