"""What may go wrong with the phone; a test sets one of these."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Faults:
    """`cut_after`: bytes sent to the phone after which the link is cut, once. `cut_in_run`: once the app runs.

    `spoil`: part of a file name that arrives with one byte changed. `wrong_sum`: sha256sum answers with another digest
    for names with this part. `crash`, `hang`: the app, in place of its work. `edit`: what the app's result is in the
    first place; `result`: what it becomes on its way into storage. `clock_jump`: seconds that the wall clock jumps
    during a run. `drift`: how much faster the monotonic clock ticks. `wrong_picture`: the app draws another seed.
    `slow`: seconds that every run takes longer; `late`: until the app has a process.
    """

    cut_after: int | None = None
    cut_in_run: bool = False
    spoil: str | None = None
    wrong_sum: str | None = None
    crash: bool = False
    hang: bool = False
    result: Callable[[bytes], bytes] | None = None
    edit: Callable[[bytes], bytes] | None = None
    clock_jump: float = 0.0
    drift: float = 1.0
    wrong_picture: bool = False
    slow: float = 0.0
    late: float = 0.0
    taken: int = 0
    cut: Callable[[], None] = field(default=lambda: None)

    def sent(self, count: int) -> None:
        """Bytes came over the link."""
        self.taken += count
        if self.cut_after is not None and self.taken >= self.cut_after:
            self.cut_after = None
            self.cut()

    def arrived(self, place: Path) -> None:
        """A file came whole."""
        if self.spoil is not None and self.spoil in place.name:
            data = bytearray(place.read_bytes())
            data[len(data) // 2] ^= 1
            place.write_bytes(bytes(data))
