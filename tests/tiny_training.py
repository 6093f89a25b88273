"""Trainings of small models in forked processes, as `torchrun` would start them."""

import json
import os
import sys
import traceback
from pathlib import Path

import tiny
import torch
from mmdet.utils import reduce_mean
from mmengine.config import Config
from mmengine.hooks import Hook
from tiny_data import annotation, dataset_config, write_data
from tiny_dump import in_child, in_two_processes

from mmovsam.checkpoints import safe_loading
from mmovsam.engine.processes import ending_at_once
from mmovsam.engine.runners import build_runner
from mmovsam.vocabulary import TextClassifier, save_classifier

NUM_IMAGES = 8
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=(96, 96), ratio_range=(0.5, 1.0), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]


def write_files(folder):
    """Images with unlike numbers of annotations, one without any, and their vocabulary."""
    shapes = [(40 + 3 * i, 90 - 5 * i) for i in range(NUM_IMAGES)]
    annotations = [
        annotation(10 * image + i, [4 + i, 6, 22, 19], image)
        for image in range(1, NUM_IMAGES)
        for i in range(image)
    ]
    write_data(folder, shapes, annotations)
    names = TextClassifier(torch.randn(2, 1, tiny.WIDTH), ('plum', 'owl'), (False, False))
    save_classifier(folder / 'names.safetensors', names)


def config(folder, model, batch_size, heartbeat=600, **changes):
    """Two epochs of a model on the images of `write_files`."""
    checkpoint = dict(type='AtomicCheckpointHook', interval=1)
    return Config(
        dict(
            model=model,
            work_dir=str(folder / 'out'),
            default_scope='mmdet',
            train_dataloader=dict(
                batch_size=batch_size,
                num_workers=0,
                sampler=dict(type='DefaultSampler', shuffle=True),
                dataset=dict(dataset_config(folder), pipeline=PIPELINE),
            ),
            optim_wrapper=dict(
                type='OptimWrapper',
                optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
                paramwise_cfg=dict(norm_decay_mult=0.0),
                clip_grad=dict(max_norm=0.1),
            ),
            train_cfg=dict(type='ResumableEpochLoop', max_epochs=2),
            default_hooks=dict(
                checkpoint=checkpoint, sampler_seed=dict(type='DistSamplerSeedHook'), logger=None
            ),
            custom_hooks=[dict(type='HeartbeatHook', seconds=heartbeat, interval=0.2)],
            randomness=dict(seed=0),
            env_cfg=dict(dist_cfg=dict(backend='gloo')),
            log_level='ERROR',
            **changes,
        )
    )


class Recorder(Hook):
    """Writes the mean loss and the images of each step; then calls a function, if there is one."""

    def __init__(self, path, then):
        self.path = path
        self.then = then

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loss = reduce_mean(outputs['loss'].detach()).item()
        with open(self.path, 'a') as file:
            images = [sample.img_id for sample in data_batch['data_samples']]
            file.write(json.dumps([loss, images]) + '\n')
        if self.then:
            self.then(runner.iter)


def train(cfg, name, processes=1, then=None):
    """Train in forked processes.

    Args:
        cfg: Of the training; its relative files are in its work folder's parent.
        name: Of the files that say what happened.
        processes: One, or two that are a group.
        then: The last process calls it with the number of each step, from 0.

    Returns:
        Exit states; and for each process `(loss, images)` of each step.
    """
    folder = Path(cfg.work_dir).parent

    def run(rank=0):
        torch.set_num_threads(1)
        sys.stderr = open(folder / f'{name}{rank}.err', 'w', buffering=1)  # noqa: SIM115
        os.chdir(folder)
        try:
            cfg.launcher = 'none' if processes == 1 else 'pytorch'
            runner = build_runner(cfg, training=True)
            last = rank == processes - 1
            recorder = Recorder(folder / f'{name}{rank}.log', then if last else None)
            runner.register_hook(recorder, 'LOWEST')
            with safe_loading(), ending_at_once():
                runner.train()
        except BaseException:
            traceback.print_exc()
            raise

    if processes == 1:
        states = [os.waitpid(in_child(run), 0)[1]]
    else:
        states = in_two_processes(run)
    logs = []
    for rank in range(processes):
        lines = (folder / f'{name}{rank}.log').read_text().splitlines()
        logs.append([tuple(json.loads(line)) for line in lines])
        print((folder / f'{name}{rank}.err').read_text()[-3000:])
    return states, logs
