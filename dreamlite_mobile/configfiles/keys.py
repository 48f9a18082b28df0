"""One JSON object of a checkpoint's configuration, read key by key; everything wrong with it is collected."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, TypeGuard

from dreamlite_mobile.errors import ConfigError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

LARGEST = 1_000_000
"""No width, count or token id of a supported network comes near; larger values would only exhaust memory."""


def read_json_object(file: Path) -> dict[str, Json]:
    """The JSON object in `file`.

    Raises:
        ConfigError: the file is missing, unreadable, not UTF-8, not JSON or not an object.
    """
    try:
        values = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise ConfigError(f"{file} is missing; a checkpoint in diffusers layout has it") from None
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file} is not JSON: {error}; copy it from the source of the checkpoint again") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file} holds a JSON {type(values).__name__}; supported: an object of settings")
    return values


@dataclass(slots=True)
class Section:
    """A JSON object from a configuration file.

    Each getter returns the value found, or the upstream class's default where the key is absent; a value that is not
    supported is recorded in `problems` (shared by all sections of a checkpoint) and the default returned.
    """

    file: str
    values: Mapping[str, Json]
    problems: list[str] = field(default_factory=list)
    path: str = ""

    def refuse(self, key: str, found: object, supported: str) -> None:
        """Record one problem: file, key, value found, what is supported."""
        self.problems.append(f"{self.file}: {self.path}{key} = {_shown(found)}; supported: {supported}")

    def child(self, key: str) -> "Section":
        """The object under `key`; an empty one, hence all defaults, where it is absent or null."""
        value = self.values.get(key)
        if value is None:
            value = {}
        elif not isinstance(value, dict):
            self.refuse(key, value, "an object")
            value = {}
        return Section(self.file, value, self.problems, f"{self.path}{key}.")

    def renamed(self, **aliases: str) -> "Section":
        """The same section with keys that upstream also accepts under another name (`old=new`) moved to it."""
        values = {aliases.get(key, key): value for key, value in self.values.items()}
        return Section(self.file, values, self.problems, self.path)

    def fixed(self, key: str, default: Json, *supported: Json) -> None:
        """Refuse any value but the supported ones: the networks here compute only those."""
        value = self.values.get(key, default)
        if not any(type(value) is type(known) and value == known for known in supported):
            self.refuse(key, value, " | ".join(_shown(known) for known in supported))

    def choice(self, key: str, default: str, known: Mapping[str, str]) -> str:
        """One of the known names, translated to ours."""
        value = self.values.get(key, default)
        if isinstance(value, str) and value in known:
            return known[value]
        self.refuse(key, value, " | ".join(_shown(name) for name in known))
        return next(iter(known.values()))

    def flag(self, key: str, default: bool) -> bool:
        value = self.values.get(key, default)
        if isinstance(value, bool):
            return value
        self.refuse(key, value, "true | false")
        return default

    def integer(self, key: str, default: int | None, *, least: int = 1, most: int = LARGEST) -> int:
        """An integer in [least, most]; a default of None means that upstream has no usable one."""
        value = self.values.get(key, default)
        if _is_integer(value) and least <= value <= most:
            return value
        self.refuse(key, value, f"an integer from {least} to {most}")
        return least if default is None else default

    def number(self, key: str, default: float, *, above: float = -math.inf) -> float:
        """A finite number greater than `above`."""
        value = self.values.get(key, default)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            # json reads integers of any size; beyond a float they are as unusable as infinity
            number = float(value) if abs(value) < 1e300 else math.inf
            if math.isfinite(number) and number > above:
                return number
        self.refuse(key, value, "a finite number" + (f" above {above:g}" if above > -math.inf else ""))
        return default

    def integers(
        self, key: str, default: Sequence[int] | int | None, *, least: int = 1, most: int = LARGEST, length: int = 0
    ) -> tuple[int, ...]:
        """A list of integers in [least, most]. With `length`, one integer stands for that many equal ones."""
        value = self.values.get(key, list(default) if isinstance(default, Sequence) else default)
        if length and _is_integer(value):
            value = [value] * length
        wanted = f"{length or 'some'} integers from {least} to {most}"
        if not isinstance(value, list) or not 0 < len(value) <= 64:
            self.refuse(key, value, f"a list of {wanted}")
            return (least,) * (length or 1)
        integers = tuple(item for item in value if _is_integer(item) and least <= item <= most)
        if len(integers) != len(value) or (length and len(value) != length):
            self.refuse(key, value, f"a list of {wanted}")
            return (least,) * (length or len(value))
        return integers

    def numbers(self, key: str, default: Sequence[float], *, above: float = -math.inf) -> tuple[float, ...]:
        """A list of finite numbers greater than `above`, as many as the default has."""
        value = self.values.get(key, list(default))
        if isinstance(value, list) and len(value) == len(default):
            items = Section(self.file, dict(zip(map(str, range(len(value))), value, strict=True)))
            found = tuple(items.number(str(index), 1.0, above=above) for index in range(len(value)))
            if not items.problems:
                return found
        bound = f" above {above:g}" if above > -math.inf else ""
        self.refuse(key, value, f"a list of {len(default)} finite numbers{bound}")
        return tuple(default)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    text = json.dumps(text) if isinstance(value, str) else text
    return text if len(text) <= 120 else text[:117] + "..."
