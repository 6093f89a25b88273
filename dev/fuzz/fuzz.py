"""Coverage-guided fuzzing of the readers of untrusted data, with atheris.

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
    """Fuzz each reader in its own process, until a finding or a time limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('folder', type=Path, help='of inputs, with a folder for each reader')
    parser.add_argument('readers', nargs='*', help=f'some of {", ".join(READERS)}')
    parser.add_argument(
        '--go-on', action='store_true', help='report errors and go on until a crash'
    )
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
        name: Name of the reader.
        folder: For inputs that reach new code.
        options: Options of libFuzzer.
        go_on: Whether to print each error once and go on.
    """
    reader = READERS[name]
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(reader.seeds()):
        (folder / f'seed{number}').write_bytes(seed)
        with contextlib.suppress(*REFUSED):
            reader.read(seed)  # builds the model before timeouts count
    tracebacks = set()

    def test(data: bytes) -> None:
        try:
            reader.read(data)
        except REFUSED:
            pass
        except Exception as error:
            if not go_on:
                raise
            key = type(error), *map(str, traceback.extract_tb(error.__traceback__)[-3:])
            if key not in tracebacks:
                tracebacks.add(key)
                traceback.print_exc()
                print(f'FINDING {data!r}', file=sys.stderr)

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = random.Random(seed)
        mutated = mutated_json(data, rng) if reader.is_json and rng.random() < 0.8 else None
        return atheris.Mutate(data, max_size) if mutated is None else mutated[:max_size]

    options = ['-timeout=20', '-rss_limit_mb=4000', '-max_len=20000', *options]
    atheris.Setup([sys.argv[0], *options, str(folder)], test, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == '__main__':
    main()
