"""The hooks that every training has."""

from pathlib import Path

from mmengine.config import Config

BASE = Path(__file__).resolve().parents[2] / 'configs' / 'ovsam_lvis.py'


def test_custom_hooks_of_a_config_drop_none_of_the_checks(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text(f'_base_ = {str(BASE)!r}\ncustom_hooks = [dict(type="EMAHook")]\n')
    kinds = {hook['type'] for hook in Config.fromfile(config).default_hooks.values()}
    checks = {'CheckpointCheckHook', 'ClassCheckHook', 'ClassFrequencyHook', 'HeartbeatHook'}
    assert checks <= kinds
