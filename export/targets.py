"""The chips an HTP export can be made for: what the compiler must know of each, one row per SoC.

HTP architecture, VTCM and fp16 are the compiler's own figures (executorch 1.5.1, `qc_schema.py` and
`generate_htp_compiler_spec`); the context limit was met on the compiler itself; phones are those of the makers' public
specifications.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dreamlite_mobile.errors import ConfigError, unknown_name

CONTEXT_LIMIT_KB = 2_097_152
"""What one HTP context can hold on every chip of the table, in KiB: larger components are cut into shards."""
COMPILER_QNN = "2.49.40"
"""QNN of the proven compiler wheel. A context does not load on an older runtime than the one that wrote it."""


@dataclass(frozen=True, slots=True)
class Target:
    """One SoC. `chipset`: QNN's number of it; `htp`: Hexagon Tensor Processor architecture, as in `V75`."""

    soc: str
    marketing: str
    chipset: int
    htp: int
    vtcm_mb: int
    fp16: bool
    phones: tuple[str, ...]
    context_limit_kb: int = CONTEXT_LIMIT_KB

    @property
    def runtime_files(self) -> tuple[str, ...]:
        """The QNN libraries that go into an app for this chip."""
        return ("libQnnHtp.so", "libQnnSystem.so", f"libQnnHtpV{self.htp}Stub.so", f"libQnnHtpV{self.htp}Skel.so")

    def as_json(self) -> dict[str, Any]:
        """The row with what all rows share."""
        return asdict(self) | {
            "htp": f"V{self.htp}",
            "qnn_runtime": f">= {COMPILER_QNN}",
            "runtime_files": list(self.runtime_files),
            "phones": list(self.phones),
        }


TARGETS: Mapping[str, Target] = {
    row.soc: row
    for row in (
        Target("SM8350", "Snapdragon 888", 30, 68, 4, False, ("Xiaomi Mi 11", "Galaxy S21 (US)")),
        Target("SM8450", "Snapdragon 8 Gen 1", 36, 69, 8, True, ("Xiaomi 12", "Galaxy S22 (US)")),
        Target("SM8550", "Snapdragon 8 Gen 2", 43, 73, 8, True, ("Xiaomi 13", "Galaxy S23")),
        Target("SM8650", "Snapdragon 8 Gen 3", 57, 75, 8, True, ("Xiaomi 14", "Galaxy S24 Ultra")),
        Target("SM8750", "Snapdragon 8 Elite", 69, 79, 8, True, ("Xiaomi 15", "Galaxy S25")),
        Target("SM8850", "Snapdragon 8 Elite Gen 5", 87, 81, 8, True, ("Xiaomi 17",)),
    )
}
DEFAULT_SOC = "SM8650"
"""The Xiaomi 14, the phone this project is for."""


def target(soc: str) -> Target:
    """The row of a SoC, in any case of letters.

    Raises:
        ConfigError: a SoC that is not in the table, with the nearest name and all of them.
    """
    found = TARGETS.get(soc.strip().upper())
    if found is None:
        unknown = unknown_name("SoC", soc.strip().upper(), TARGETS, nearest=3)
        raise ConfigError(f"--soc: {unknown} `dreamlite targets` lists their phones.")
    return found
