"""Checks the fields of rows that are read back: a results.jsonl may have been edited, or damaged by a disk.

In: rows as `thinkseg.evaluation.sample_metrics` documents them. Out: an error for the first field of another type.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, ValidationError, model_validator

from thinkseg.errors import SettingsError
from thinkseg.storage.run_folder import Row

Fraction = Annotated[float, Field(ge=0, le=1)]
PixelCount = Annotated[int, Field(ge=0, lt=2**53)]


class _Row(BaseModel):
    """The fields of all rows. Others are kept as they are, for they enter no metric and no page."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    id: str
    video: str
    annotation_run: str
    j: Fraction | None
    f: Fraction | None

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.j is None) != (self.f is None):
            raise ValueError("j and f must both be numbers or both be null")
        return self


class _ObjectRow(_Row):
    object: int


class _ExpressionRow(_Row):
    category: str
    query: str
    failure: str | None
    repairs: list[str] = []
    has_target: bool | None
    num_targets: NonNegativeInt | None = None
    is_empty: bool
    intersection: PixelCount | None = None
    union: PixelCount | None = None
    target_share: Fraction | None = None
    r_k: Fraction | None = None
    r_s: Fraction | None = None
    robustness_visa255: Fraction | None = None
    robustness_area: Fraction | None = None
    keyframe: NonNegativeInt | None = None
    boxes: list[Annotated[list[float], Field(min_length=4, max_length=4)]] = []
    replies: list[str] = []
    seconds: dict[str, float] = {}
    failure_detail: str | None = None
    fingerprint: dict[str, str] = {}
    ious: list[list[Fraction]] | None = None
    tracks: NonNegativeInt | None = None

    @model_validator(mode="after")
    def _check_counts(self) -> Self:
        if (self.union or 0) < (self.intersection or 0) or (self.union is None) != (self.intersection is None):
            raise ValueError("intersection must be at most union")
        if self.ious is not None and any(len(track) != self.tracks for track in self.ious):
            raise ValueError("ious must have one value per true track")
        return self


def check_row(row: Row, path: Path) -> None:
    """Raises SettingsError if a field of a row that enters a metric is missing or has an invalid value.

    path: of the file that has the row, for the message.
    """
    try:
        (_ObjectRow if "object" in row else _ExpressionRow).model_validate(row)
    except ValidationError as invalid:
        error = invalid.errors()[0]
        field = ".".join(map(str, error["loc"]))
        what = ": ".join(filter(None, (field, error["msg"].replace("Input should be", "must be"))))
        raise SettingsError(f"{path}: row {row.get('id')!r}: {what}; delete its line to compute it again") from None
