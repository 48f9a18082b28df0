"""What a command left behind."""

import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """Exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict:
        """The JSON object on stdout."""
        return json.loads(self.out)
