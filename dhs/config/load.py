"""Composed YAML -> typed, frozen configuration, or one line per fault."""

import difflib
from typing import Any, TypeVar, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Root = TypeVar("Root", bound=BaseModel)


class ConfigError(ValueError):
    """The configuration is wrong; the message is one line a fault. Programs exit with code 2."""


def load_config(composed: DictConfig, *, schema: type[Root]) -> Root:
    """Validate a composed configuration; ConfigError lists every fault as ``key = value: reason``."""
    try:
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(_omegaconf_line(error)) from None
    assert isinstance(plain, dict)
    return validate(plain, schema=schema)


def validate(plain: dict[Any, Any], *, schema: type[Root]) -> Root:
    """As `load_config`, from plain containers (a checkpoint's configuration)."""
    try:
        return schema.model_validate(plain)
    except ValidationError as error:
        lines = [_fault_line(fault, schema=schema, plain=plain) for fault in error.errors(include_url=False)]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def _omegaconf_line(error: OmegaConfBaseException) -> str:
    text = str(error).splitlines()[0]
    key = getattr(error, "full_key", None)
    if "Missing mandatory value" in text:
        return f"{key} = ???: must be given on the command line, for example {key}=..."
    return f"{key}: {text}" if key else text


def _fault_line(fault: ErrorDetails, *, schema: type[BaseModel], plain: dict[Any, Any]) -> str:
    path = _without_union_tags(fault["loc"], plain)
    key = ".".join(str(part) for part in path)
    reason = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ").replace("\n", " ")
    if fault["type"] == "extra_forbidden":
        return f"{key} = {fault['input']!r}: unknown key{_did_you_mean(str(path[-1]), path[:-1], schema, plain)}"
    if fault["type"] == "missing":
        return f"{key}: must be given"
    if fault["type"] == "value_error":
        return (
            f"{key}.{reason}"
            if key and isinstance(fault["input"], dict)
            else f"{key} = {fault['input']!r}: {reason}"
            if key
            else reason
        )
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        allowed = fault.get("ctx", {}).get("expected_tags", "")
        return f"{key}.name: must be one of {allowed}"
    return f"{key} = {fault['input']!r}: must be {reason[0].lower() + reason[1:]}"


def _without_union_tags(location: tuple[int | str, ...], plain: Any) -> list[int | str]:
    """pydantic puts the tag of a discriminated union into the path; the user never typed it."""
    path: list[int | str] = []
    node = plain
    for position, part in enumerate(location):
        is_tag = isinstance(node, dict) and part not in node and node.get("name") == part and position > 0
        if is_tag:
            continue
        path.append(part)
        if isinstance(node, dict):
            node = node.get(part)
        elif isinstance(node, list | tuple) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            node = None
    return path


def _did_you_mean(name: str, parents: list[int | str], schema: type[BaseModel], plain: dict[Any, Any]) -> str:
    known = known_keys(parents, schema=schema, plain=plain)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f" (did you mean {close[0]}?)"
    return f" (known: {', '.join(sorted(known))})" if known else ""


def known_keys(parents: list[int | str], *, schema: type[BaseModel], plain: dict[Any, Any]) -> list[str]:
    """Field names of the section at ``parents``; the section's `name` in ``plain`` chooses among alternatives."""
    model: type[BaseModel] | None = schema
    node: Any = plain
    in_mapping = False
    for part in parents:
        node = node.get(part, {}) if isinstance(node, dict) else {}
        if in_mapping:  # a free label, as of a mixture's components
            in_mapping = False
            continue
        if model is None or part not in model.model_fields:
            return []
        annotation = model.model_fields[str(part)].annotation
        in_mapping = get_origin(annotation) is dict
        model = _model_of(annotation, node)
    return list(model.model_fields) if model else []


def _model_of(annotation: Any, node: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    candidates = [a for a in get_args(annotation) if isinstance(a, type) and issubclass(a, BaseModel)]
    name = node.get("name") if isinstance(node, dict) else None
    for candidate in candidates:
        field = candidate.model_fields.get("name")
        if field is not None and name in get_args(field.annotation):
            return candidate
    return candidates[0] if candidates else None
