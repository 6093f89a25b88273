"""Every config as a runner writes it into its work folder."""

from pathlib import Path

import pytest
from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
FILES = sorted(path for path in CONFIGS.rglob('*.py') if '_base_' not in path.parts)
DAILY = ('ovsam_lvis', 'ovsam_mini_boxes', 'ovsam_photo')


@pytest.mark.parametrize(
    'file',
    [
        pytest.param(path, id=path.stem, marks=[] if path.stem in DAILY else pytest.mark.slow)
        for path in FILES
    ],
)
def test_text_of_a_config_is_that_config(file, tmp_path):
    config = Config.fromfile(file)
    config.dump(tmp_path / 'config.py')
    assert Config.fromfile(tmp_path / 'config.py').to_dict() == config.to_dict()
