"""Package mmovsam. The wheel carries what `mim` looks for: configs, tools and model-index.yml."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
NAME = 'mmovsam'


def read_version():
    scope = {}
    exec((ROOT / NAME / 'version.py').read_text(encoding='utf-8'), scope)
    return scope['__version__']


def read_text(name):
    path = ROOT / name
    return path.read_text(encoding='utf-8') if path.is_file() else ''


class BuildPy(build_py):
    """Adds `mmovsam/.mim`, where `mim` looks for the tools and configs of an installed package.

    A wheel gets copies. An editable install gets pointers: files of a line or two that run or
    inherit those of the checkout.
    """

    def run(self):
        if not self.editable_mode:
            # what an earlier build left and the sources no longer have would go into the wheel
            shutil.rmtree(Path(self.build_lib) / NAME, ignore_errors=True)
        super().run()
        if self.editable_mode:
            # what is written here goes into the wheel that makes the install editable
            unpacked_wheel = self.get_finalized_command('install').install_purelib
            write_mim(Path(unpacked_wheel) / NAME / '.mim', pointer_to)
        else:
            target = Path(self.build_lib) / NAME / '.mim'
            write_mim(target, lambda source: source.read_text(encoding='utf-8'))


def write_mim(target, content_of):
    sources = [*sorted((ROOT / 'tools').glob('*.py')), *sorted((ROOT / 'configs').rglob('*.py'))]
    for source in [*sources, ROOT / 'model-index.yml']:
        path = target / source.relative_to(ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content_of(source), encoding='utf-8')


def pointer_to(source):
    if source.suffix != '.py':
        return source.read_text(encoding='utf-8')
    if ROOT / 'tools' in source.parents:
        return f'import runpy\n\nrunpy.run_path({str(source)!r}, run_name=__name__)\n'
    return f'_base_ = [{str(source)!r}]\n'


# An egg-info beside the sources would make `python -m mim`, run there, take them for the install.
(ROOT / 'build').mkdir(exist_ok=True)

# Neither mmcv nor onedl-mmcv: pip can build them without their operators or not at all, since it
# hides PyTorch from the build. tools/build_mmcv.py builds either. MMEngine imports pkg_resources.
openmmlab = ['mmengine>=0.10.4,<1', 'mmdet>=3.3,<4', 'setuptools<81']
onedl = ['onedl-mmengine>=0.10.12', 'onedl-mmdetection>=3.5.1']
docs = ['mkdocs>=1.6,<2', 'mkdocs-material>=9.6', 'mkdocstrings[python]>=1', 'ruff']  # make docs
mini = ['scikit-image', 'scikit-learn', 'scipy']
lvis = ['faster-coco-eval>=1.8']  # what OpenVocabLVISMetric computes with
heic = ['pillow-heif>=0.16']  # images of phones and cameras
serve = ['fastapi>=0.115,<1', 'uvicorn>=0.30']  # what the page and the server are served with
large_images = ['tifffile>=2023', 'imagecodecs']  # windows of images that exceed memory
label_studio = ['waitress>=3']  # what serves tools/label_studio_backend.py
cvat = ['cvat-sdk>=2.60']  # whose functions mmovsam.integrations.cvat has; from then on with scores
fiftyone = ['fiftyone>=1']  # whose models mmovsam.integrations.fiftyone has
export = ['onnx>=1.17', 'onnxruntime>=1.20', 'onnxscript>=0.5']  # tools/export.py; torch>=2.8

setup(
    name=NAME,
    version=read_version(),
    description='Open-Vocabulary SAM for MMDetection: boxes in, masks and names out',
    long_description=read_text('README.md'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    package_dir={'': '.'},  # one plain path for editable installs, which the pointers rely on
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    py_modules=['mmovsam_command'],  # beside the package, whose import takes seconds
    entry_points={'console_scripts': ['mmovsam = mmovsam_command:main']},
    package_data={
        NAME: ['py.typed', 'weights/*', '**/*.json', '**/*.json.gz', '**/*.txt', 'server/static/*']
    },  # fmt: skip
    include_package_data=False,
    options={'egg_info': {'egg_base': 'build'}},
    cmdclass={'build_py': BuildPy},
    # Not mmengine, mmcv and mmdet: there are two families of them, and neither may replace the
    # other in somebody's environment. Choose one of the extras.
    install_requires=[
        'torch>=2.4',
        'torchvision>=0.19',
        'filelock',
        'huggingface_hub>=0.25',
        'numpy>=1.24',
        'open_clip_torch>=2.32',
        'pillow',
        'platformdirs',
        'pycocotools',
        'safetensors',
        'timm>=1.0',
        'tqdm',
    ],
    extras_require={
        'openmmlab': openmmlab,
        'onedl': onedl,
        'mim': ['openmim==0.3.9', 'openxlab==0.0.11', 'setuptools<81'],
        'lvis': lvis,
        'heic': heic,
        'label-studio': label_studio,
        'cvat': cvat,
        'fiftyone': fiftyone,
        'serve': serve,
        'large-images': large_images,
        'export': export,
        'docs': docs,
        'mini': mini,
        'web': [*mini, *serve],
        'test': [
            *mini,
            *lvis,
            *heic,
            *label_studio,
            *serve,
            'httpx',
            *export,
            'pytest',
            'hypothesis',
            'playwright',
            'ruff',
            'matplotlib',
            'label-studio-sdk>=2.0.18',  # earlier ones refuse valid brush masks
            'supervision',
            'nbclient',
            'ipykernel',
        ],
    },
    classifiers=[
        'Programming Language :: Python :: 3.10',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Image Recognition',
    ],
    zip_safe=False,
)
