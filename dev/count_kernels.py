"""Count kernels, synchronizations and graph breaks of a model, without a GPU."""

import argparse
from collections import Counter

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import torch
from benchmarks.cases import random_boxes, random_vocabulary
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmovsam.config_files import find_config
from mmovsam.engine.command_line import readable_errors
from mmovsam.models.prepare import prepare_for_inference
from other_device import other_device, stand_ins

IMG_SHAPE, ORI_SHAPE = (768, 1024), (480, 640)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--config', default='ovsam_lvis.py', help='(default: the full-size model)')
    parser.add_argument('--boxes', type=int, default=100)
    parser.add_argument('--names', type=int, default=1203)
    parser.add_argument('--chunk-size', type=int, help='boxes at once (default: 128)')
    parser.add_argument(
        '--breaks', action='store_true', help='also count graph breaks, which takes minutes'
    )
    parser.add_argument('--verbose', action='store_true', help='list kernels and synchronizations')
    return parser.parse_args()


def build(config, num_names, chunk_size):
    """The model on `meta`, without weights."""
    cfg = Config.fromfile(find_config(config)).model
    init_default_scope('mmdet')
    cfg.prompter = None
    with torch.device('meta'):
        model = MODELS.build(cfg).eval()
    model.to('meta')  # sets the device of the data preprocessor
    random_vocabulary(model, num_names)
    prepare_for_inference(model, torch.bfloat16)  # like a test on a GPU
    if chunk_size:
        model.test_cfg['chunk_size'] = chunk_size
    return model


@torch.no_grad()
def count(args):
    model = build(args.config, args.names, args.chunk_size)
    boxes = random_boxes(args.boxes, model.input_size).scaled((0.6, 0.45))
    image = torch.empty(1, 3, model.input_size, model.input_size, device='meta')
    meta = dict(img_shape=IMG_SHAPE, ori_shape=ORI_SHAPE, scale_factor=(1.6, 1.6))
    with other_device() as encoding:
        features = model.extract_feat(image)
    with other_device() as recognition:
        model.recognize(features, boxes[: getattr(model, 'chunk_size', args.chunk_size)])
    with other_device() as prediction:
        model.predict_prompts(features, boxes, meta)
    print(f'{args.boxes} boxes, {args.names} names: kernels, about how many if fused, waits')
    parts = {
        'encode': encoding,
        'recognize, a chunk': recognition,
        'predict, with masks at the size of the image': prediction,
    }
    for name, work in parts.items():
        print(f'{name:46} {len(work.kernels):6} {work.num_fused:4} {len(work.waits):4}')
        if args.verbose:
            for calls in (*zip(*work.kernels), work.waits):  # operations, callers, waits
                print('  ', dict(Counter(calls).most_common(40)))
    if args.breaks:
        for name, number in graphs(model, image, features, boxes).items():
            print(f'graphs of {name}: {number}')


def graphs(model, image, features, boxes):
    """Number of graphs of the compiled functions of a model; 1 is no graph break."""
    counts = Counter()

    def compiled(name, function):
        def backend(graph, _):
            counts[name] += 1
            return graph.forward

        return torch.compile(function, backend=backend, dynamic=name == 'recognize')

    model.sorted_prompts = torch.compiler.disable(model.sorted_prompts)
    with stand_ins():
        compiled('extract_feat', model.extract_feat)(image)
        compiled('recognize', model.recognize)(features, boxes)
    return counts


if __name__ == '__main__':
    args = parse_args()
    with readable_errors():
        count(args)
