"""A JSON schema (Draft 7) of recipes, made from the installed stages, for editors such as VS Code's TOML extensions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from . import sweep
from .artifacts import Kind
from .recipe import SUFFIXES
from .stages import Stage

DRAFT = "http://json-schema.org/draft-07/schema#"


def recipe_schema(stages: Iterable[Stage]) -> dict[str, Any]:
    """Return the schema of a recipe that uses these stages."""
    definitions: dict[str, Any] = {}
    variants = []
    for stage in stages:
        definitions[stage.name] = _stage_schema(stage, definitions)
        variants.append({"$ref": f"#/definitions/{stage.name}"})
    head = {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "description": "Names the output folder."},
            "seed": {"type": "integer", "default": 0, "description": "All random numbers derive from it."},
            "description": {"type": "string", "description": "One sentence for people."},
            "report": {"type": "boolean", "default": False, "description": "Write report.html, a page about the run."},
        },
    }
    return {
        "$schema": DRAFT,
        "title": "genart recipe",
        "type": "object",
        "required": ["recipe", "stage"],
        "additionalProperties": False,
        "properties": {
            "recipe": head,
            "stage": {"type": "array", "minItems": 1, "items": {"oneOf": variants}},
            "sweep": _sweep_schema(definitions.get(sweep.SHEET_STAGE, {})),
        },
        "definitions": definitions,
    }


def _sweep_schema(sheet: dict[str, Any]) -> dict[str, Any]:
    """The table [sweep]: lists of values by stage and parameter, and what its sheet takes."""
    values = {"type": "array", "minItems": 1}
    own = {name: value for name, value in sheet.get("properties", {}).items() if name not in sweep.OF_ITS_OWN}
    show = {"type": "string", "description": "What the sheet shows: a stage, or stage.output; by default the last one of pictures."}
    return {
        "type": "object",
        "description": "Runs every combination of lists of values, and lays the pictures out on a labelled sheet.",
        "properties": {"show": show, **own},
        "patternProperties": {"[.]": {**values, "description": 'A parameter, "id.param", and the values that it takes.'}},
        "additionalProperties": {"type": "object", "additionalProperties": {"anyOf": [values, {"type": "object"}]}},
    }


def _stage_schema(stage: Stage, definitions: dict[str, Any]) -> dict[str, Any]:
    schema = stage.params.model_json_schema()
    for name, definition in schema.pop("$defs", {}).items():
        definitions[f"{stage.name}.{name}"] = _draft7(definition, stage.name)
    own: dict[str, Any] = {
        "uses": {"const": stage.name, "description": stage.summary},
        "id": {"type": "string", "description": "Name of this stage; its random numbers hang on it."},
        "save": {"type": "string", "description": _save_words(stage.gives["output"])},
    }
    if stage.takes is not None:
        names = {"type": "string"}
        own["from"] = {
            "anyOf": [names, {"type": "array", "items": names, "minItems": 1}],
            "description": "Where the input comes from: a stage, or stage.output.",
        }
    properties = {**own, **_draft7(schema.get("properties", {}), stage.name)}
    return {
        "type": "object",
        "title": stage.name,
        "description": stage.doc,
        "required": ["uses", *schema.get("required", [])],
        "additionalProperties": False,
        "properties": properties,
    }


def _save_words(kind: Kind) -> str:
    return "Path inside the output folder: " + ", ".join("a folder" if suffix == "" else suffix for suffix in SUFFIXES[kind])


def _draft7(value: Any, prefix: str) -> Any:
    """Rewrite what pydantic writes for Draft 2020-12."""
    if isinstance(value, list):
        return [_draft7(item, prefix) for item in value]
    if not isinstance(value, dict):
        return value
    result = {key: _draft7(item, prefix) for key, item in value.items()}
    if "prefixItems" in result:
        result["items"] = result.pop("prefixItems")
        result["additionalItems"] = False
    if isinstance(result.get("$ref"), str):
        name = result["$ref"].rpartition("/")[2]
        return {"$ref": f"#/definitions/{prefix}.{name}"}
    if result.get("default", ...) is None:
        del result["default"]  # TOML has no null
    if "anyOf" in result and isinstance(result["anyOf"], list):
        kinds = [item for item in result["anyOf"] if item != {"type": "null"}]
        rest = {key: item for key, item in result.items() if key != "anyOf"}
        return (
            {**rest, **kinds[0]}
            if len(kinds) == 1 and not set(rest) & set(kinds[0]) - {"description", "title"}
            else {**rest, "anyOf": kinds}
        )
    return result


def as_json(schema: dict[str, Any]) -> str:
    """The schema as text, the same for the same stages."""
    return json.dumps(schema, indent=1, ensure_ascii=False)
