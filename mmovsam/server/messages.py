"""Requests and responses of the server, as types of its OpenAPI description."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

MAX_PROMPTS = 256
MAX_POINTS = 1000  # of a prompt
MAX_ASKED = 100  # names to find
MAX_NAMES = 2000  # of a vocabulary

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]
Count = Annotated[StrictInt, Field(ge=0, le=2**31 - 1)]
Point = Annotated[list[Number], Field(min_length=2, max_length=2)]
Box = Annotated[list[Number], Field(min_length=4, max_length=4)]
Name = Annotated[StrictStr, Field(min_length=1, max_length=200)]
TopK = Annotated[StrictInt, Field(ge=1, le=100, description='Names of each mask, at most.')]
MaskFormat = Annotated[
    Literal['rle', 'polygons'],
    Field(description="Masks as COCO's run lengths, which are exact, or as its polygons."),
]
COFFEE = dict(point_coords=[[290, 150]], point_labels=[1])


class _Request(BaseModel):
    """A request without unknown fields."""

    model_config = ConfigDict(extra='forbid')


class RunLengths(_Request):
    """A mask as COCO's compressed run lengths, as pycocotools encodes it."""

    size: Annotated[list[Count], Field(min_length=2, max_length=2, description='[H, W]')]
    counts: StrictStr


class SessionRequest(_Request):
    """A request for a session."""

    password: StrictStr | None = Field(None, description='If the server was started with one.')


class Prompt(_Request):
    """Points, a box and a mask of one object, in any combination, in pixels of the image."""

    point_coords: list[Point] | None = Field(None, max_length=MAX_POINTS, description='xy')
    point_labels: list[Annotated[StrictInt, Field(ge=0, le=1)]] | None = Field(
        None, max_length=MAX_POINTS, description='One for each point: 1 foreground, 0 background.'
    )
    box: Box | None = Field(None, description='xyxy')
    mask: RunLengths | None = Field(None, description='A mask to refine, of the size of the image.')


class PromptRequest(_Request):
    """A request for the masks of prompts."""

    model_config = ConfigDict(json_schema_extra=dict(examples=[dict(prompts=[COFFEE])]))
    prompts: list[Prompt] = Field(min_length=1, max_length=MAX_PROMPTS)
    multimask_output: StrictBool = Field(
        False, description='Three masks for each prompt, for ambiguous ones.'
    )
    top_k: TopK = 5
    mask_format: MaskFormat = 'rle'


class VocabularyRequest(_Request):
    """The names for this session."""

    model_config = ConfigDict(json_schema_extra=dict(examples=[dict(names=['espresso', 'spoon'])]))
    names: list[Name] = Field(max_length=MAX_NAMES, description="Empty: the model's own names.")


class FindRequest(_Request):
    """A request for all objects with some names."""

    model_config = ConfigDict(json_schema_extra=dict(examples=[dict(names=['cup', 'a spoon'])]))
    names: list[Name] = Field(min_length=1, max_length=MAX_ASKED)
    background: list[Name] | None = Field(
        None, max_length=MAX_NAMES, description='Other names; null: those of the model.'
    )
    score_thr: Share = 0.5
    bboxes: list[Box] | None = Field(
        None, max_length=MAX_PROMPTS, description='xyxy, to search in; null: the whole image.'
    )
    points_per_side: Annotated[StrictInt, Field(ge=1, le=32)] | None = Field(
        None, description='Side of a grid of points as prompts; null: the default of the model.'
    )
    top_k: TopK = 5
    mask_format: MaskFormat = 'rle'


class EverythingRequest(_Request):
    """A request for all objects, see `segment_everything` in the documentation."""

    model_config = ConfigDict(json_schema_extra=dict(examples=[dict(points_per_side=8)]))
    points_per_side: Annotated[StrictInt, Field(ge=1, le=32)] | None = Field(
        None, description='Side of a grid of points as prompts; null: the default of the model.'
    )
    quality_thr: Share | None = None
    stability_thr: Share | None = None
    nms_iou: Share = 0.7
    min_area: Count = 20
    name_score_thr: Share = 0.0
    min_mask_region_area: Count = 0
    non_overlapping: StrictBool = False
    top_k: TopK = 5
    mask_format: MaskFormat = 'rle'


class SessionAnswer(BaseModel):
    """A session, for the header `Authorization: Bearer TOKEN` of requests."""

    token: str
    forgotten_after: float = Field(description='Seconds without use.')


class ImageAnswer(BaseModel):
    """The image that is set, in its EXIF orientation."""

    width: int
    height: int
    sha256: str = Field(description="Of the image's file, in hexadecimal.")


class VocabularyAnswer(BaseModel):
    """The names of the session."""

    names: list[str]


class Thing(BaseModel):
    """A mask with its names."""

    name: str | None = Field(description='The best of `names`; null of a model without names.')
    score: float = Field(
        description="The name's probability; of what was found, times the quality of the mask; "
        'the quality of a model without names.'
    )
    names: list[str] = Field(description='The likeliest names, best first.')
    name_scores: list[float] = Field(description='Their probabilities.')
    prompt: int | None = Field(None, description='Which prompt it answers, from 0.')
    predicted_iou: float | None = Field(None, description='Quality, where the model predicts it.')
    stability_score: float | None = None
    bbox: list[float] = Field(description='x, y, width, height in pixels')
    area: int = Field(description='pixels')
    segmentation: RunLengths | list[list[float]] = Field(
        description='Run lengths, or a list of polygons, each x, y, x, y, ...'
    )


class ThingsAnswer(BaseModel):
    """All masks: of prompts in their order, else the best first."""

    objects: list[Thing]


class HealthAnswer(BaseModel):
    """The server answers."""

    status: Literal['UP'] = 'UP'
    model: str
    version: str


class Problem(BaseModel):
    """An error and its remedy."""

    error: str
