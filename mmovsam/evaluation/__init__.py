"""Metrics."""

from .open_vocab_metric import OpenVocabMetric

__all__ = ['OpenVocabMetric']
