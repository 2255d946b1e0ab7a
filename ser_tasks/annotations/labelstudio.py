"""Label Studio: its JSON export read, its tasks and its labelling configuration written.

Format: "Label Studio JSON format of annotated tasks" and "Basic Label Studio JSON format" of its documentation.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import quoteattr

EMOTION = "emotion"
SOURCE = "label-studio"


def is_export(tree: Sequence[Any]) -> bool:
    """Whether a JSON list is an export: tasks with `annotations` (an empty list is one, too)."""
    return all(isinstance(task, dict) and "data" in task and "annotations" in task for task in tree)


def other_export(tree: Sequence[Any]) -> str:
    """What else of Label Studio's a JSON list is, in words; empty for what is none of it."""
    items = [item for item in tree if isinstance(item, dict)]
    if any("annotation_id" in item for item in items):
        return "Label Studio's JSON-MIN, which leaves out whether an annotation was cancelled"
    if any("completions" in item for item in items):
        return "an export of Label Studio before 1.0 (it has completions)"
    if any("data" in item for item in items):
        return "a list of Label Studio tasks of which some have no annotations"
    return ""


def rows_of_export(tasks: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """One row a rating or choice of every annotation.

    Cancelled annotations and those without any result give a row with `left_out`. An annotation that the export holds
    twice (equal id) counts once. The annotator is `label-studio-<completed_by>`.
    """
    seen: set[str] = set()
    for number, task in enumerate(tasks, start=1):
        data = task["data"] if isinstance(task["data"], dict) else {}
        utterance = _utterance(data)
        place = f"task {task.get('id', number)}"
        annotations = task["annotations"]
        if not isinstance(annotations, list):
            yield {"row": place, "utterance_id": utterance, "fault": "annotations is no list"}
            continue
        for annotation in annotations:
            if not isinstance(annotation, dict):
                yield {"row": place, "utterance_id": utterance, "fault": "an annotation is no object"}
                continue
            name = "" if annotation.get("id") is None else str(annotation["id"])
            where = f"{place}, annotation {name}"
            about = {
                "row": where,
                "utterance_id": utterance,
                "annotator_id": _annotator(annotation.get("completed_by")),
                "created_at": str(annotation.get("updated_at") or annotation.get("created_at") or ""),
                "source": SOURCE,
            }
            if name and name in seen:
                yield about | {"left_out": "is in the export twice"}
                continue
            seen.add(name)
            if annotation.get("was_cancelled"):
                yield about | {"left_out": "was cancelled by the annotator"}
                continue
            yield from _results(about, annotation.get("result"))


def _results(about: dict[str, str], results: Any) -> Iterator[dict[str, str]]:
    if not results:
        yield about | {"left_out": "has no result"}
        return
    for result in results if isinstance(results, list) else [None]:
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(result, dict) or not isinstance(value, dict):
            yield about | {"fault": "a result has no value"}
            continue
        trait = str(result.get("from_name") or "")
        row = about | {"row": f"{about['row']}, {trait}", "trait": trait}
        choices = value.get("choices")
        if "rating" in value:
            yield row | {"rating": str(value["rating"]), "scale": "1-5"}
        elif isinstance(choices, list) and len(choices) == 1:
            yield row | {"rating": str(choices[0]), "scale": "" if trait == EMOTION else "1-5"}
        elif isinstance(choices, list):
            yield row | {"fault": f"has {len(choices)} choices where one is wanted: {', '.join(map(str, choices))}"}
        else:
            yield row | {"left_out": f"is of type {result.get('type', 'unknown')}, which is no rating"}


def _utterance(data: Mapping[str, Any]) -> str:
    """The clip's id; where a task does not name it, the stem of its audio file."""
    if data.get("utterance_id"):
        return str(data["utterance_id"]).strip()
    return PurePosixPath(unquote(urlsplit(str(data.get("audio") or "")).path)).stem


def _annotator(completed_by: Any) -> str:
    """`completed_by` is a user's number, or an object with it; e-mail addresses are not kept."""
    who = completed_by.get("id") if isinstance(completed_by, dict) else completed_by
    return "" if who is None else f"{SOURCE}-{who}"


def task(utterance_id: str, audio: str, about: Mapping[str, Any]) -> dict[str, Any]:
    """A task to import into Label Studio.

    Args:
        utterance_id: Comes back with the export.
        audio: Address that the annotator's browser can load.
        about: Further columns of the task, such as why this clip was chosen.
    """
    return {"data": {"utterance_id": utterance_id, "audio": audio, **about}}


def labelling_configuration(trait: str, emotions: Sequence[str]) -> str:
    """The project's labelling configuration (XML): a rating of the trait from 1 to 5, and one emotion."""
    choices = "\n".join(f"    <Choice value={quoteattr(emotion)}/>" for emotion in emotions)
    return f"""<View>
  <Audio name="audio" value="$audio"/>
  <Header value={quoteattr(f"How much {trait} do you hear in the voice? 1: none, 5: very much")}/>
  <Rating name={quoteattr(trait)} toName="audio" maxRating="5" required="true"/>
  <Header value="Which emotion do you hear in the voice?"/>
  <Choices name="{EMOTION}" toName="audio" choice="single" required="true">
{choices}
  </Choices>
</View>
"""
