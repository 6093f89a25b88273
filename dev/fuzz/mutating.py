"""Changes of JSON that keep it JSON: a fuzzer of bytes alone hardly gets behind the parser."""

import copy
import json
import random

_ODD = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, float('nan'),
    float('inf'), '', ' ', '0', 'a', 'a/b', '../a', '\0', '\ud800', '\N{SNOWMAN}', 'x' * 300,
    [], {}, [[]], [None], [0], [1, 2], [[1, 2, 3, 4, 5, 6]], {'': 0}, {'id': 1}, {'size': [1, 1]},
)  # fmt: skip


def mutated_json(text: bytes, random: random.Random) -> bytes | None:
    """JSON with one to three values changed, removed, duplicated or moved; None for other bytes."""
    try:
        content = [json.loads(text)]
    except (ValueError, RecursionError):
        return None
    for _ in range(random.randint(1, 3)):
        positions = list(_positions(content))
        parent, key = random.choice(positions)
        kind = random.randrange(8)
        if kind == 0 and parent is not content:
            del parent[key]
        elif kind == 1 and isinstance(parent, list) and len(parent) < 20:
            parent.insert(key, copy.deepcopy(parent[key]))
        elif kind == 2:
            source, source_key = random.choice(positions)
            parent[key] = copy.deepcopy(source[source_key])
        elif kind == 3 and isinstance(parent[key], int | float):
            parent[key] = random.choice((-1, 1, 0.5, 100)) * min(parent[key], 1e9)
        elif kind == 4 and isinstance(parent[key], str) and parent[key]:
            position = random.randrange(len(parent[key]))
            letter = chr(random.choice((random.randrange(32, 127), random.randrange(0x3000))))
            parent[key] = parent[key][:position] + letter + parent[key][position + 1 :]
        elif kind == 5 and isinstance(parent, dict):
            parent[random.choice(('', 'id', 'a', '\ud800', '0'))] = parent.pop(key)
        else:
            parent[key] = copy.deepcopy(random.choice(_ODD))
    return json.dumps(content[0]).encode()


def _positions(container):
    """Pairs of a container and a key of all values."""
    items = container.items() if isinstance(container, dict) else enumerate(container)
    for key, value in list(items):
        yield container, key
        if isinstance(value, dict | list):
            yield from _positions(value)


def mutated_bytes(data: bytes, random: random.Random) -> bytes:
    """Bytes with some changed, removed, duplicated or cut off."""
    data = bytearray(data)
    for _ in range(random.randint(1, 4)):
        start = random.randrange(len(data) + 1)
        end = min(start + random.choice((1, 1, 2, 4, 32)), len(data))
        kind = random.randrange(5)
        if kind == 0:
            del data[start:end]
        elif kind == 1:
            data[start:start] = data[start:end]
        elif kind == 2 and random.random() < 0.2:
            del data[start:]
        else:
            data[start:end] = bytes(
                random.choice((0, 1, 127, 128, 255, random.randrange(256))) for _ in data[start:end]
            )
    return bytes(data)
