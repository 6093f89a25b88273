"""Masks, boxes and names against annotations, for base and novel classes."""

from .open_vocab_coco_metric import OpenVocabCocoMetric
from .open_vocab_lvis_metric import OpenVocabLVISMetric
from .open_vocab_metric import OpenVocabMetric

__all__ = ['OpenVocabCocoMetric', 'OpenVocabLVISMetric', 'OpenVocabMetric']
