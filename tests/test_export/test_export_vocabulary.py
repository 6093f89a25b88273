"""Names as arrays."""

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mmovsam.export import VocabularyArrays
from mmovsam.vocabulary import TextClassifier


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    kinds=st.lists(st.sampled_from([True, False, None]), min_size=8, max_size=8),
    split=st.booleans(),
)
def test_arrays_hold_all_of_a_text_classifier(counts, kinds, split):
    embeddings = torch.randn(sum(counts), 4, generator=torch.Generator().manual_seed(0))
    names = tuple(f'näme {i}' for i in range(len(counts)))
    novel = tuple(kinds[: len(counts)]) if split else None
    arrays = VocabularyArrays.from_classifier(
        TextClassifier(embeddings, names, novel, tuple(counts))
    )
    back = arrays.classifier
    assert (back.names, back.counts) == (names, tuple(counts))
    assert back.novel == (novel or (True,) * len(counts))
    torch.testing.assert_close(back.embeddings, F.normalize(embeddings, dim=-1))
    rows = np.split(np.arange(sum(counts)), np.cumsum(counts)[:-1])
    assert [set(row) for row in arrays.name_index] == [set(row) for row in rows]


def test_a_file_gives_back_what_was_written_and_others_are_no_vocabulary(tmp_path):
    arrays = VocabularyArrays.from_classifier(tiny.vocabulary())
    arrays.save(tmp_path / 'a.npz')
    loaded = VocabularyArrays.load(tmp_path / 'a.npz')
    for name, value in vars(arrays).items():
        np.testing.assert_array_equal(getattr(loaded, name), value)
    with pytest.raises(ValueError, match='into a .npz file, not .*a.txt'):
        arrays.save(tmp_path / 'a.txt')
    np.savez(tmp_path / 'other.npz', weights=np.zeros(3))
    np.save(tmp_path / 'single.npy', np.zeros(3))
    (tmp_path / 'text.npz').write_text('names')
    for name in ('other.npz', 'single.npy', 'text.npz'):
        with pytest.raises(ValueError, match=f'{name} is no vocabulary'):
            VocabularyArrays.load(tmp_path / name)
