"""Whatever a disk does, and whenever a process dies: nothing is lost, nothing half-written passes.

Each command runs with a fault from a random call of the file system on. What was there before is
still whole then, an error names what it could not read or write, and the same command ends well
afterwards, with the result that it would have had.
"""

import contextlib
import json
import random
import resource
import shutil
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import tiny_dump
import torch
from faults import FAULTS, KILLED, VANISHED, Disk, Killed, contents
from hub_server import HubServer
from mmengine.registry import init_default_scope
from noisy_training import make_runner
from PIL import Image
from safetensors.torch import load_file

from mmovsam.apis import OVSAMPredictor, auto_label, track
from mmovsam.checkpoints import load_checkpoint_file
from mmovsam.checkpoints.loading import save_checkpoint
from mmovsam.downloads import fetch
from mmovsam.export import export_onnx
from mmovsam.teacher_features import Feature, FeatureStore, check_store, encode
from mmovsam.vocabulary import load_classifier, save_classifier

EVERYTHING = dict(points_per_side=2, stability_thr=0, min_area=1, nms_iou=0.999)


@pytest.fixture(scope='module')
def model():
    init_default_scope('mmdet')
    return tiny.build()


class Training:
    """Of three epochs, with a checkpoint of each."""

    def __init__(self, folder, model):
        self.folder = folder
        make_runner(folder, train_cfg=dict(type='ResumableEpochLoop', max_epochs=1)).train()

    def run(self):
        make_runner(self.folder, resume=True, keep=2).train()

    def check(self):
        """All checkpoints can be read, and one is named as the last."""
        for path in self.folder.glob('*.pth'):
            assert load_checkpoint_file(path)['meta']['epoch'] == int(path.stem[-1])
        name = (self.folder / 'last_checkpoint').read_text()
        assert load_checkpoint_file(name)['meta']['epoch'] >= 1

    def result(self):
        checkpoint = load_checkpoint_file(self.folder / 'epoch_3.pth')['state_dict']
        names = sorted(path.name for path in self.folder.glob('*.pth'))
        return names, [value.tolist() for value in checkpoint.values()]


class Dump:
    """Of teacher features."""

    def __init__(self, folder, model):
        self.folder, self.inputs = folder, folder.with_name('dump_inputs')
        self.config = tiny_dump.config(self.inputs, 4)
        tiny_dump.dump(self.config, folder)
        for number in range(5, 8):
            shutil.copy(self.inputs / 'images/sa_1.jpg', self.inputs / f'images/sa_{number}.jpg')

    def run(self):
        tiny_dump.dump(self.config, self.folder)

    def check(self):
        """The first features are there, and what is there is whole."""
        store = FeatureStore(self.folder)
        store.recover()
        assert store.missing(range(1, 5)) == []
        assert check_store(store, num_workers=0).problems == []

    def result(self):
        store = FeatureStore(self.folder)
        return [store.read(i).embedding.data.tolist() for i in range(1, 8)]


class Store:
    """Of features, by itself: what is printed would go into a file, too."""

    def __init__(self, folder, model):
        about = dict(dtype='float32', shape=[1, 2, 2])
        self.store = FeatureStore.create(folder, about, torch.zeros(1), 9)
        self.write(1)

    def write(self, *image_ids):
        embedding = encode(torch.ones(1, 2, 2), 'float32')
        self.store.write(Feature(image_id, 0, embedding) for image_id in image_ids)

    def run(self):
        self.write(*range(2, 9))

    def check(self):
        """The first feature is there, and what is there is whole."""
        assert self.store.missing([1]) == []
        assert check_store(self.store, num_workers=0).problems == []


class Labelling:
    """Of a folder, over an earlier result."""

    def __init__(self, folder, model):
        self.folder, self.model = folder, model
        self.inputs = folder.with_name('label_inputs')
        self.inputs.mkdir()
        for number in range(3):
            pixels = np.random.default_rng(number).integers(0, 256, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.inputs / f'{number}.png')
        self.run(score_thr=0.9)
        self.before = (folder / 'out.json').read_bytes()

    def run(self, score_thr=0.0):
        auto_label(
            OVSAMPredictor(self.model, cache_size=0),
            self.inputs,
            self.folder / 'out.json',
            prompter_options=EVERYTHING,
            score_thr=score_thr,
            show_dir=self.folder / 'pictures',
            overwrite=True,
            progress=False,
        )

    def check(self):
        """The result is the earlier one or, where the run ended, the new one; so are pictures."""
        now = (self.folder / 'out.json').read_bytes()
        assert now == self.before or now.endswith(b'\n}\n')
        for path in self.folder.glob('pictures/*.jpg'):
            with Image.open(path) as picture:
                picture.load()

    def result(self):
        return contents(self.folder)


class Tracking:
    """Of a clip, over an earlier result."""

    def __init__(self, folder, model):
        self.out, self.model = folder / 'tracks.json', model
        pixels = np.random.default_rng(0).integers(0, 256, (4, 30, 40, 3), dtype=np.uint8)
        self.frames = [(f'{number}.png', frame) for number, frame in enumerate(pixels)]
        self.run(quality_thr=1.0)

    def run(self, quality_thr=0.0):
        thresholds = dict(quality_thr=quality_thr, iou_thr=0.0, likeness_thr=-1.0, refind_thr=None)
        predictor = OVSAMPredictor(self.model, cache_size=0)
        bboxes = [[2, 2, 20, 20], [10, 5, 35, 28]]
        track(predictor, self.frames, None, bboxes, out=self.out, overwrite=True, **thresholds)

    def check(self):
        """The result is an earlier one, whole, or has the frames that are done."""
        assert json.loads(self.out.read_text())['images']

    def result(self):
        return contents(self.out.parent)


class Export:
    """Over an earlier one; PyTorch's part stands still, since here it is about files."""

    def __init__(self, folder, model):
        self.folder, self.model = folder, model
        self.version = 0
        self.run()
        self.before = contents(folder)
        self.version = 1

    def run(self):
        def program(*args, **kwargs):
            return SimpleNamespace(save=lambda path: write(path, f'{path.name} {self.version}'))

        def write(path, text):
            with open(path, 'w') as file:
                file.write(text)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr('torch.onnx.export', program)
            patch.setattr('mmovsam.export.onnx_files.ONNXModel', lambda folder: None)
            agrees = SimpleNamespace(require=lambda: None)
            patch.setattr('mmovsam.export.onnx_files.compare', lambda *args: agrees)
            export_onnx(self.model, self.folder, tiny.vocabulary())

    def check(self):
        """It is the earlier export, or none where the disk went while files were moved."""
        now = {k: v for k, v in contents(self.folder).items() if '.tmp' not in k}
        assert 'model.json' not in now or now in (self.before, self.expected)

    def result(self):
        return contents(self.folder)


class File:
    """One file, written anew."""

    def __init__(self, folder, model):
        self.path, self.model = folder / self.name, model
        self.write(1)

    def run(self):
        self.write(2)

    def check(self):
        self.result()


class Vocabulary(File):
    name = 'names.safetensors'

    def write(self, seed):
        save_classifier(self.path, tiny.vocabulary(seed=seed))

    def result(self):
        return load_classifier(self.path).embeddings.tolist()


class Weights(File):
    name = 'weights.pth'

    def write(self, seed):
        save_checkpoint(dict(a=torch.full((99,), float(seed))), self.path, {})

    def result(self):
        return load_checkpoint_file(self.path)['state_dict']['a'].tolist()


class Features(File):
    """Of an image, saved by a predictor."""

    name = 'image.safetensors'

    def write(self, seed):
        predictor = OVSAMPredictor(self.model)
        predictor.set_image(np.full((20, 30, 3), seed, np.uint8))
        predictor.save_features(self.path)

    def result(self):
        OVSAMPredictor(self.model).load_features(self.path)
        return {name: tensor.tolist() for name, tensor in load_file(self.path).items()}


class Download:
    """Of a file, besides one that is there."""

    def __init__(self, folder, model):
        self.server = HubServer()
        self.content = random.Random(0).randbytes(50_000)
        self.server.files |= {'/files/a.pth': b'a' * 99, '/files/b.pth': self.content}
        self.cache = pytest.MonkeyPatch()
        self.cache.setenv('MMOVSAM_CACHE', str(folder))
        self.first = fetch(f'{self.server.url}/files/a.pth')

    def run(self):
        fetch(f'{self.server.url}/files/b.pth')

    def check(self):
        assert self.first.read_bytes() == b'a' * 99

    def result(self):
        return fetch(f'{self.server.url}/files/b.pth').read_bytes()

    def close(self):
        self.cache.undo()
        self.server.close()


COMMANDS = (Training, Dump, Labelling, Tracking, Export, Vocabulary, Weights, Features, Download)


@pytest.fixture
def drill(request, tmp_path, model):
    """`drill(kind, part)`: a command after its first results, then with a fault."""
    folder = tmp_path / 'results'
    folder.mkdir()
    command = request.param(folder, model)
    before = tmp_path / 'before'
    shutil.copytree(folder, before)
    inputs = getattr(command, 'inputs', tmp_path / 'none')
    with Disk(folder).installed() as written, Disk(inputs).installed() as read:
        command.run()
    command.expected = command.result()

    def run(kind, part, of_inputs=False):
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        command.check()
        calls = (read if of_inputs else written).calls
        expected = (OSError, ValueError) if of_inputs else (OSError, Killed)  # none can be read
        broken = Disk(inputs if of_inputs else folder, kind, int(part * calls))
        raised = None
        with broken.installed():
            try:
                command.run()
            except expected as error:
                raised = error
        print(f'{kind} from call {int(part * calls)} of {calls} on: {broken.failed}, {raised!r}')
        command.check()
        by_mmengine = broken.failed and any(
            part in broken.failed[1] for part in ('vis_data', '.py', '.log')
        )
        if isinstance(raised, OSError) and not by_mmengine:  # which writes its config and logs
            names = (folder.name, inputs.name, '127.0.0.1')  # of a file there, or the address
            assert any(name in str(raised) for name in names), raised
        command.run()
        command.check()
        assert command.result() == command.expected

    yield run
    if hasattr(command, 'close'):
        command.close()


def seeded():
    """A random generator whose seed is printed."""
    seed = random.SystemRandom().randrange(2**32)
    print(f'seed {seed}')
    return random.Random(seed)


@pytest.mark.parametrize('rounds', [1, pytest.param(33, marks=pytest.mark.slow)])
@pytest.mark.parametrize('drill', COMMANDS, indirect=True, ids=lambda each: each.__name__)
def test_a_disk_that_fails_or_a_kill_costs_nothing_that_was_whole(drill, rounds):
    chance = seeded()
    for _ in range(rounds):
        for kind in (*chance.sample(sorted(FAULTS), 2), KILLED):
            drill(kind, chance.random())


@pytest.mark.parametrize('drill', (Dump, Labelling), indirect=True, ids=lambda each: each.__name__)
def test_inputs_that_vanish_or_cannot_be_read_cost_nothing_else(drill):
    chance = seeded()
    for kind in (VANISHED, 'broken'):
        drill(kind, chance.random(), of_inputs=True)


@contextlib.contextmanager
def file_size_limit(size):
    """A block in which the system itself refuses larger files, to libraries in C as well."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    'command', (Store, Vocabulary, Weights, Features), ids=lambda each: each.__name__
)
def test_what_libraries_in_c_cannot_write_is_an_error_that_names_the_file(command, tmp_path, model):
    folder = tmp_path / 'results'
    folder.mkdir()
    command = command(folder, model)
    chance = seeded()
    limits = (20_000, 60_000) if isinstance(command, Store) else (1, 400)
    for _ in range(2):
        with file_size_limit(chance.randrange(*limits)), pytest.raises(OSError, match='results/'):
            command.run()
        command.check()
        assert not list(folder.rglob('.*.tmp*'))
    command.run()
    command.check()
