"""Exact resuming for MMEngine: loops, seeds and checkpoints. See README.md."""

from .atomic_checkpoint_hook import AtomicBackend, AtomicCheckpointHook, last_checkpoint
from .loops import ResumableEpochLoop, ResumableIterLoop
from .seeding import SeededBatchSampler, seed_sample, seed_step

__all__ = [
    'AtomicBackend',
    'AtomicCheckpointHook',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'SeededBatchSampler',
    'last_checkpoint',
    'seed_sample',
    'seed_step',
]
