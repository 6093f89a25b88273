"""What a metric says of a made-up scene."""

import json

import pytest
from detection_scenes import annotation_file, data_sample
from mmengine.evaluator import Evaluator


@pytest.fixture
def evaluate(tmp_path):
    """Writes an annotation file, shows a metric all predictions, and returns its values."""

    def run(kind, images, categories, objects, predictions, novel=None, classes=None, **kwargs):
        path = tmp_path / 'annotations.json'
        path.write_text(json.dumps(annotation_file(images, categories, objects)))
        metric = kind(str(path), **kwargs)
        names = classes or [category['name'] for category in categories]
        ids = {category['name']: category['id'] for category in categories}
        labels = {ids[name]: label for label, name in enumerate(names)}
        evaluator = Evaluator([metric])
        evaluator.dataset_meta = dict(classes=names)
        if novel is not None:
            evaluator.dataset_meta['novel'] = novel
        for image in images:
            evaluator.process([data_sample(image['id'], predictions, labels)])
        return evaluator.evaluate(len(images))

    return run
