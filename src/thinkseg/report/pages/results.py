"""The page of results without ground truth: one that `thinkseg segment` wrote, or a folder of many questions.

In: answer.json of each result, and results.jsonl of many. Out: a card for each question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from thinkseg.chains.parsing import explained
from thinkseg.data.readers.json_tree import JsonNode, is_safe_name, read_json
from thinkseg.errors import DatasetError, SettingsError, ThinkSegError
from thinkseg.report.page import write_html
from thinkseg.report.pages.cards import AnswerView, Card, Drawing, anchors, draw, format_boxes
from thinkseg.report.pages.evaluation import PAGE, card_filters
from thinkseg.report.pages.pictures import Scene
from thinkseg.report.pages.runs import DEFAULT_SHOWN
from thinkseg.report.pages.verdicts import MISSING, Said
from thinkseg.report.result_files import ANSWER
from thinkseg.report.stored_result import read_result
from thinkseg.storage.run_folder import ROWS, Row, read_rows
from thinkseg.types import ProgressCallback

ANSWERED, NO_TARGET, UNUSABLE, ERROR = "answered", "no target", "unusable", "error"
"""What became of a question, as in the table of many."""

MEANINGS = {
    ANSWERED: "something was found",
    NO_TARGET: "no such object",
    UNUSABLE: "invalid reply",
    ERROR: "the video or the result cannot be used",
}


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """One question.

    video: what answer.json says about its video; equal for results about the same frames. folder: of the result, None
    without one. error: why there is none. record: of answer.json.
    """

    id: str
    query: str
    video: str
    status: str
    folder: Path | None
    error: str
    record: JsonNode | None


def write_results(
    folders: Sequence[Path], folder: Path, video: Path | None, num_drawn: int, progress: ProgressCallback | None = None
) -> int:
    """Writes the page of results, and returns how many have pictures.

    folders: of single results, or of many questions. folder: of the page, empty. video: the frames of a single result,
    if they were moved. num_drawn: draw the first so many. Raises SettingsError or DatasetError for damaged lists.
    """
    answers = [answer for one in folders for answer in _answers(one)]
    wanted = {
        str(number): (one.video, partial(_scene, one.folder, video))
        for number, one in enumerate(answers)
        if one.folder and one.status != UNUSABLE
    }
    drawing = draw(dict(islice(wanted.items(), num_drawn)), folder, progress)
    places = anchors(f"{number} {one.id}" for number, one in enumerate(answers))
    undrawn = f"only the first {num_drawn} results have pictures"
    cards = [
        _card(one, place, drawing, str(number), undrawn)
        for number, (one, place) in enumerate(zip(answers, places.values(), strict=True))
    ]
    counts = Counter(one.status for one in answers)
    write_html(
        folder / PAGE,
        "results.html.j2",
        title=", ".join(one.resolve().name for one in folders),
        totals={"questions": str(len(answers)), **{name: str(counts[name]) for name in MEANINGS if counts[name]}},
        hints=MEANINGS,
        cards=cards,
        **card_filters(cards, MEANINGS),
    )
    return len(drawing.pictures)


def _answers(folder: Path) -> list[StoredAnswer]:
    if (folder / ANSWER).is_file():
        return [_answer(folder.resolve().name, folder)]
    return [_listed(row, folder) for row in read_rows(folder / ROWS).values()]


def _listed(row: Row, folder: Path) -> StoredAnswer:
    """Returns the answer of a row of many questions."""
    node = JsonNode(row, f"{ROWS}, {row['id']}")
    if name := node["folder"].string():
        if not is_safe_name(name, nested=True):
            raise SettingsError(
                f"{folder}: {row['id']!r} has the folder {name!r}, which could lead out; delete its line"
            )
        return _answer(str(row["id"]), folder / name)
    return StoredAnswer(str(row["id"]), node["query"].string(), "", ERROR, None, node["error"].string(), None)


def _answer(name: str, folder: Path) -> StoredAnswer:
    """Reads a result; one that is missing or damaged is an error of its card."""
    try:
        record = read_json(folder / ANSWER)
        query, video = record["query"].string(), str(record["video"].value)
        if record["failure"].value is not None:
            return StoredAnswer(name, query, video, UNUSABLE, folder, explained(record["failure"].text()), record)
        status = NO_TARGET if record["no_target"].boolean() else ANSWERED
        return StoredAnswer(name, query, video, status, folder, "", record)
    except DatasetError as error:
        return StoredAnswer(name, "", "", ERROR, None, str(error), None)


def _scene(folder: Path, video: Path | None) -> Scene:
    return Scene.of(read_result(folder, video), DEFAULT_SHOWN)


def _card(one: StoredAnswer, anchor: str, drawing: Drawing, key: str, undrawn: str) -> Card:
    note = one.error or drawing.notes.get(key, undrawn)
    answer = AnswerView(
        run="",
        verdict=f"{MEANINGS[one.status]}: {one.error}"
        if one.error
        else MEANINGS[one.status] * (one.status != ANSWERED),
        scores="",
        good=None if one.status in (ANSWERED, NO_TARGET) else False,
        turns=_read(one, _turns) or (),
        details=_details(one),
        pictures=drawing.pictures.get(key),
        note=note,
    )
    return Card(anchor, one.id, one.query, "", [one.status], None, [answer])


def _turns(record: JsonNode) -> list[Said]:
    return [Said.of(reply.string()) for reply in record["replies"].items()]


def _details(one: StoredAnswer) -> dict[str, str]:
    """Returns facts of a result by name, without those that it lacks or that are damaged."""
    facts: dict[str, Callable[[JsonNode], str]] = {
        "video": lambda record: record["video"]["name"].text(),
        "keyframe": lambda record: f"frame {record['keyframe']['index'].integer()}",
        "boxes": lambda record: format_boxes(
            [[side.number() for side in box.items()] for box in record["boxes"].items()]
        ),
        "objects": lambda record: "; ".join(
            f"{number} is seen in {found['seen'].integer()} of {record['video']['frames'].integer()} frames"
            for number, found in enumerate(record["objects"].items(), 1)
        ),
        "warnings": lambda record: "; ".join(text.string() for text in record["warnings"].items()),
        "repairs": lambda record: ", ".join(text.string() for text in record["repairs"].items()),
        "policy": lambda record: record["settings"]["policy"].text(),
        "tracker": lambda record: record["settings"]["tracker"].text(),
        "time": lambda record: ", ".join(f"{step.key} {step.number():.1f} s" for step in record["seconds"].values()),
    }
    found = {name: _read(one, read) for name, read in facts.items()}
    return {name: text for name, text in found.items() if text and text != MISSING}


def _read(one: StoredAnswer, read: Callable[[JsonNode], Any]) -> Any:
    """Returns a part of answer.json, None if it is missing or damaged."""
    try:
        return read(one.record) if one.record else None
    except ThinkSegError:
        return None
