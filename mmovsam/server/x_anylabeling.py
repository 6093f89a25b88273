"""Routes for X-AnyLabeling's `Remote-Server` model."""

import base64
import binascii
import hashlib
from typing import Annotated, Literal

import numpy as np
from fastapi import APIRouter, Header, HTTPException
from pydantic import BaseModel, Field, StrictStr

from ..apis import OVSAMPredictor
from ..apis.auto_labeling.label_studio import name_note
from . import answers
from .messages import (
    MAX_ASKED,
    MAX_POINTS,
    EverythingRequest,
    FindRequest,
    Number,
    Prompt,
    PromptRequest,
    Share,
)
from .served import IMAGE_PROBLEMS, Served, problems

MODEL = 'mmovsam'
IN_WORK = 'AUTOLABEL_OBJECT'
"""X-AnyLabeling's label of an unfinished object, which the next response replaces."""
TASKS = (
    dict(
        id='click',
        name='Click or box',
        batch_processing_mode=None,
        active_widgets=dict.fromkeys(
            (
                'button_add_point',
                'button_remove_point',
                'button_add_rect',
                'button_clear',
                'button_finish_object',
            ),
            {},
        ),
    ),
    dict(
        id='find',
        name='Find by name',
        batch_processing_mode='text_prompt',
        active_widgets=dict(
            edit_text=dict(placeholder='dog, a red cup'),
            button_send={},
            input_conf={},
            edit_conf={},
            toggle_preserve_existing_annotations={},
        ),
    ),
    dict(
        id='everything',
        name='Everything',
        batch_processing_mode='default',
        active_widgets=dict(button_run={}, toggle_preserve_existing_annotations={}),
    ),
)


class Mark(BaseModel):
    """A point or rectangle that was drawn."""

    type: Literal['point', 'rectangle']
    data: list[Number] = Field(min_length=2, max_length=4, description='x, y, or x, y, x, y')
    label: int = Field(1, description='1 is the object, 0 is not.')


class Parameters(BaseModel):
    """Settings of X-AnyLabeling; other fields are ignored."""

    current_task: Literal['click', 'find', 'everything'] | None = None
    marks: list[Mark] = Field([], max_length=MAX_POINTS)
    text_prompt: StrictStr | None = Field(None, description='Names with commas between them.')
    conf_threshold: Share = Field(0.0, description='The score; 0 for the usual one.')


class PredictRequest(BaseModel):
    """An image and the task."""

    image: StrictStr = Field(description='The file, as a data URI or in base 64.')
    params: Parameters = Parameters()


class Shape(BaseModel):
    """A polygon of an object."""

    label: str
    shape_type: Literal['polygon'] = 'polygon'
    points: list[list[float]] = Field(description='x, y of each corner, the first one last again')
    score: float
    description: str = Field(description='The best names with their probabilities.')
    group_id: int | None = Field(None, description='The same for the polygons of an object.')


class Shapes(BaseModel):
    """All objects."""

    shapes: list[Shape]
    replace: bool | None = Field(None, description='Null: as was chosen in X-AnyLabeling.')


class PredictAnswer(BaseModel):
    """The objects, as X-AnyLabeling reads them."""

    data: Shapes


class ModelsAnswer(BaseModel):
    """The models of this server, as X-AnyLabeling reads them."""

    data: dict[str, dict]


def make_router(served: Served) -> APIRouter:
    """`GET /v1/models` and `POST /v1/predict`, without sessions.

    Each request has the image, whose encoding is cached by content.
    """
    router = APIRouter(prefix='/v1', tags=['X-AnyLabeling'])
    password_of = Annotated[
        str | None, Header(alias='Token', description="The server's password, if it has one.")
    ]

    @router.get('/models', response_model=ModelsAnswer, responses=problems(401))
    async def models(token: password_of = None):
        """Return the tasks of the model."""
        served.check_password(token)
        model = dict(display_name=f'mmovsam: {served.model_name}', available_tasks=TASKS)
        return dict(data={MODEL: model})

    @router.post('/predict', response_model=PredictAnswer, responses=IMAGE_PROBLEMS)
    async def predict(request: PredictRequest, token: password_of = None):
        """Segment by points and rectangles, find names, or segment everything."""
        served.check_password(token)
        data = _decode(request.image)
        if len(data) > served.limits.max_file_size:
            raise HTTPException(
                413,
                f'An image file has {served.limits.max_file_size / 2**20:g} MB at most; this one '
                'is larger. Make it smaller.',
            )
        session = served.session_of_image(hashlib.sha256(data).hexdigest())
        pixels = served.limits.max_pixels

        def answer(predictor: OVSAMPredictor) -> dict:
            if not predictor.is_image_set:
                answers.set_image(predictor, data, pixels)
            return _shapes(served, predictor, request.params)

        return dict(data=await served.answer(session, answer))

    return router


def _decode(image: str) -> bytes:
    try:
        return base64.b64decode(image.rpartition(',')[2], validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f'image is no data URI in base 64: {image!a:.60}') from None


def _shapes(served: Served, predictor: OVSAMPredictor, params: Parameters) -> dict:
    task = params.current_task or (
        'click' if params.marks else 'find' if params.text_prompt else 'everything'
    )
    polygons = dict(mask_format='polygons')
    if task == 'click':
        prompts = _prompts(params.marks, *predictor.original_size)
        things = prompts and answers.prompt(predictor, PromptRequest(prompts=prompts, **polygons))
        return dict(shapes=_polygons(things, IN_WORK), replace=False)
    if task == 'find':
        names = [name.strip() for name in (params.text_prompt or '').split(',') if name.strip()]
        if not 0 < len(names) <= MAX_ASKED:
            raise ValueError(f'{len(names)} names are asked for: give 1 to {MAX_ASKED}.')
        threshold = dict(score_thr=params.conf_threshold) if params.conf_threshold else {}
        request = FindRequest(names=names, **threshold, **polygons)
        things = answers.find(predictor, request, served.name_encoder)
    else:
        things = answers.everything(predictor, EverythingRequest(**polygons))
    return dict(shapes=_polygons(things))


def _prompts(marks: list[Mark], height: int, width: int) -> list[Prompt]:
    """A prompt for each rectangle with the points in it, or one prompt with all points.

    Marks are rounded down, and may lie outside of the image.
    """
    size = width, height
    points, boxes = [], []
    for mark in marks:
        if len(mark.data) != (2 if mark.type == 'point' else 4):
            raise ValueError(f'A {mark.type} has other numbers than {mark.data}.')
        corners = np.reshape(mark.data, (-1, 2)).clip(0, size)
        if mark.type == 'point':
            points.append((*corners[0].tolist(), int(mark.label > 0)))
        elif mark.label > 0 and (corners[0] != corners[1]).all():
            boxes.append([*corners.min(0).tolist(), *corners.max(0).tolist()])
    prompts = []
    for box in boxes or [None]:
        inside = points
        if len(boxes) > 1:
            inside = [p for p in points if box[0] <= p[0] <= box[2] and box[1] <= p[1] <= box[3]]
        point_prompt = dict(
            point_coords=[p[:2] for p in inside], point_labels=[p[2] for p in inside]
        )
        if box or any(label for *_, label in inside):
            prompts.append(Prompt(box=box, **(point_prompt if inside else {})))
    return prompts


def _polygons(things: list[dict], label: str | None = None) -> list[dict]:
    shapes = []
    for number, thing in enumerate(things, 1):
        rings = [np.reshape(polygon, (-1, 2)).tolist() for polygon in thing['segmentation']]
        for corners in rings:
            shapes.append(
                dict(
                    label=label or thing['name'] or 'object',
                    points=[*corners, corners[0]],
                    score=thing['score'],
                    description=name_note(thing['names'], thing['name_scores']),
                    group_id=number if len(rings) > 1 else None,
                )
            )
    return shapes
