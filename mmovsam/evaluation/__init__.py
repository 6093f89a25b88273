"""Metrics of masks, boxes and names, for base and novel classes."""

from .average_precision import OpenVocabCocoMetric, OpenVocabLVISMetric
from .open_vocab_metric import OpenVocabMetric

__all__ = ['OpenVocabCocoMetric', 'OpenVocabLVISMetric', 'OpenVocabMetric']
