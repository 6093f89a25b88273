"""Sharded training with MMEngine's FlexibleRunner."""

from .fsdp import FullStateFSDPStrategy

__all__ = ['FullStateFSDPStrategy']
