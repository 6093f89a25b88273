"""Show the small world's OVSAM: on scenes it has never seen, turn prompts into named masks."""

import argparse
import contextlib
import io
import logging
import os
import time
from pathlib import Path

import mmovsam  # noqa: F401  first: it mends torchvision where that is broken
import mmcv
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from tqdm import tqdm

from mmovsam.apis.auto_labeling.overlay import contact_sheet
from mmovsam.datasets.mini_world import write_split
from mmovsam.engine.command_line import readable_errors
from mmovsam.config_files import find_config

PROMPTS = {
    'RTMDet boxes': 'mini/ovsam_mini_rtmdet.py',
    'annotated boxes': 'mini/ovsam_mini_boxes.py',
    'one point': 'mini/ovsam_mini_points.py',
}
BASELINES = {  # with annotated boxes
    'SAM, CLIP on crops': 'mini/sam_clip_mini_image.py',
    'SAM, CLIP features': 'mini/sam_clip_mini_feature.py',
}
COLUMNS = {
    'IoU': ('open_vocab/IoU', '.3f'),
    'base %': ('open_vocab/acc_base', '.1f'),
    'novel %': ('open_vocab/acc_novel', '.1f'),
    'mask AP': ('coco/segm_mAP', '.3f'),
    'box AP': ('coco/bbox_mAP', '.3f'),
}
ENLARGE = 3  # so that names fit into pictures of 320 pixels
SCORE_THR = 0.5  # of what is drawn


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add(
        '--out', type=Path, default=Path('outputs/demo_mini'), help='folder for scenes and pictures'
    )
    add('--num-images', type=int, default=60, help='scenes drawn for the test')
    add('--seed', type=int, default=20261122, help='of the scenes')
    add('--num-pictures', type=int, default=12, help='pictures written for each kind of prompt')
    return parser.parse_args()


class Watch(Hook):
    """Shows the progress of a test and draws its first pictures."""

    def __init__(self, title, num_images, out, num_pictures):
        self.bar = tqdm(total=num_images, desc=f'{title:>18}', unit='image')
        self.out = out
        self.left = num_pictures

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        for sample in outputs[: self.left]:
            self.left -= 1
            name = Path(sample.img_path).stem
            image = mmcv.imread(sample.img_path, channel_order='rgb')
            runner.visualizer.add_datasample(
                name,
                mmcv.imrescale(image, ENLARGE),
                enlarged(sample),
                draw_gt=False,
                pred_score_thr=SCORE_THR,
                out_file=str(self.out / f'{name}.jpg'),
            )
        self.bar.update(len(outputs))

    def after_test(self, runner):
        self.bar.close()


def enlarged(sample):
    """The predictions of a sample for a picture that is larger than the image."""
    instances = sample.pred_instances.clone()
    instances.bboxes = instances.bboxes * ENLARGE
    masks = instances.masks.repeat_interleave(ENLARGE, 1).repeat_interleave(ENLARGE, 2)
    instances.masks = masks
    return DetDataSample(pred_instances=instances)


def evaluate(title, config, data_root, args, num_pictures):
    cfg = Config.fromfile(find_config(config))
    dataset = cfg.test_dataloader.dataset
    dataset.data_root = str(data_root)
    dataset.draw = None
    for metric in cfg.test_evaluator:
        if 'ann_file' in metric:
            metric.ann_file = str(data_root / dataset.ann_file)
    cfg.work_dir = str(args.out / 'logs')
    cfg.log_level = 'WARNING'
    cfg.experiment_name = title.replace(' ', '_')
    runner = Runner.from_cfg(cfg)
    runner.visualizer.alpha = 0.4  # the object's own color has to show
    pictures = args.out / config.split('_')[-1].removesuffix('.py')
    runner.register_hook(Watch(title, args.num_images, pictures, num_pictures))
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints each of its numbers
        return runner.test()


def print_table(results):
    print(f'\n{"prompt":<18}' + ''.join(f'{name:>10}' for name in COLUMNS))
    for title, metrics in results.items():
        cells = (
            format(metrics[key], spec) if key in metrics else '-' for key, spec in COLUMNS.values()
        )
        print(f'{title:<18}' + ''.join(f'{cell:>10}' for cell in cells))
    print('IoU: mean over annotated objects. base, novel: accuracy out of all 640 names.')
    print('The last two are no OVSAM, but SAM and CLIP put together, with annotated boxes.\n')


def main(args):
    logging.captureWarnings(True)
    start = time.monotonic()
    data_root = args.out / f'scenes_{args.num_images}_{args.seed}'
    write_split(data_root, 'test', args.num_images, args.seed, overwrite=True)
    results = {}
    for configs, num_pictures in ((PROMPTS, args.num_pictures), (BASELINES, 0)):
        for title, config in configs.items():
            results[title] = evaluate(title, config, data_root, args, num_pictures)
    first = sorted((args.out / 'rtmdet').glob('*.jpg'))[:6]
    sheet = contact_sheet([mmcv.imread(str(file)) for file in first], 3, 1440)
    mmcv.imwrite(sheet, str(args.out / 'demo.jpg'))
    print_table(results)
    seconds = time.monotonic() - start
    out = os.path.relpath(args.out)
    print(f'Done in {seconds:.0f} s. Pictures: {out}/demo.jpg, {out}/*/*.jpg')


if __name__ == '__main__':
    args = parse_args()
    with readable_errors():
        main(args)
