"""A `DreamLiteConfig` as plain JSON data inside a manifest and back, with no key left out, added or coerced."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from typing import Any, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, JsonValue, create_model

from dreamlite_mobile.config import DreamLiteConfig


def config_to_json(config: DreamLiteConfig) -> dict[str, JsonValue]:
    """Nested dicts of JSON values; every field is present, defaults included."""
    return cast("dict[str, JsonValue]", json.loads(json.dumps(asdict(config))))


def config_from_json(data: Mapping[str, JsonValue]) -> DreamLiteConfig:
    """The inverse of `config_to_json`. pydantic's ValidationError (a ValueError) lists everything that differs."""
    parsed = _strict_model(DreamLiteConfig).model_validate_json(json.dumps(data))
    return cast("DreamLiteConfig", _as_dataclass(DreamLiteConfig, parsed))


@cache
def _strict_model(kind: type) -> type[BaseModel]:
    """The pydantic twin of a frozen dataclass: the same fields and types, none optional, unknown keys refused."""
    hints = get_type_hints(kind)
    members: dict[str, Any] = {
        field.name: (_strict_model(hints[field.name]) if is_dataclass(hints[field.name]) else hints[field.name], ...)
        for field in fields(kind)
    }
    strict = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    return create_model(kind.__name__, __config__=strict, **members)


def _as_dataclass(kind: type, model: BaseModel) -> object:
    hints = get_type_hints(kind)
    values = {
        name: _as_dataclass(hints[name], value) if isinstance(value, BaseModel) else value
        for name, value in ((field.name, getattr(model, field.name)) for field in fields(kind))
    }
    return kind(**values)
