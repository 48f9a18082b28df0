"""A parity report against an earlier one: what became worse, what is no longer compared."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dreamlite_mobile.errors import ConfigError, ParityError
from dreamlite_mobile.parity.schema import BundleReport, ChangeEntry, DiffEntry, ParityReport, RowEntry, level
from dreamlite_mobile.parity.tolerance import TOLERANCE_DB

INAUDIBLE_DB = 140.0
"""Above this, SNR in float32 is rounding: exact and 145 dB are equally good."""


@dataclass(frozen=True, slots=True)
class Change:
    """One comparison in both reports. `other_inputs`: it was made on other inputs, so the two differ for that too."""

    bundle: str
    row: RowEntry
    before_db: float
    now_db: float
    other_inputs: bool

    @property
    def fall_db(self) -> float:
        """How much it lost; negative when it gained."""
        if self.before_db == self.now_db:
            return 0.0
        return min(self.before_db, INAUDIBLE_DB) - min(self.now_db, INAUDIBLE_DB)


@dataclass(frozen=True, slots=True)
class Diff:
    """Every comparison of both reports, and what only one of them has."""

    tolerance_db: float
    changes: tuple[Change, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]

    @property
    def regressions(self) -> list[Change]:
        """What fell by more than the tolerance, the deepest first."""
        fallen = [change for change in self.changes if change.fall_db > self.tolerance_db]
        return sorted(fallen, key=lambda change: -change.fall_db)


def compare_reports(earlier: ParityReport, now: ParityReport, tolerance_db: float = TOLERANCE_DB) -> Diff:
    """Match bundles by checkpoint, backend, target, size and precisions, rows by what they compare."""
    before, after = rows_by_key(earlier), rows_by_key(now)
    changes = tuple(
        Change(bundle, row, before[key][1].decibels, row.decibels, before[key][1].input_digest != row.input_digest)
        for key, (bundle, row) in after.items()
        if key in before
    )
    gone = tuple(told(*before[key]) for key in before if key not in after)
    return Diff(tolerance_db, changes, gone, tuple(told(*after[key]) for key in after if key not in before))


def rows_by_key(report: ParityReport) -> dict[tuple[object, ...], tuple[str, RowEntry]]:
    """Every row under what makes it the same one; bundles that are alike are told apart by their order."""
    found: dict[tuple[object, ...], tuple[str, RowEntry]] = {}
    for number, bundle in numbered(report.bundles):
        for row in bundle.parity:
            found[(*bundle.key, number, *row.key)] = (bundle.bundle, row)
    return found


def numbered(bundles: list[BundleReport]) -> Iterator[tuple[int, BundleReport]]:
    """Each bundle with how many alike stand before it."""
    seen: dict[tuple[str, ...], int] = {}
    for bundle in bundles:
        number = seen.get(bundle.key, 0)
        seen[bundle.key] = number + 1
        yield number, bundle


def told(bundle: str, row: RowEntry) -> str:
    return f"{bundle}: {row.component}.{row.method} {row.output} ({row.pair}, {row.origin})"


def check_diff(diff: Diff, earlier: str) -> None:
    """Raise ParityError naming every regression and everything that is no longer compared."""
    worse = [
        f"{told(change.bundle, change.row)}: {change.row.metric} {change.before_db:.1f} -> {change.now_db:.1f} dB"
        for change in diff.regressions
    ]
    found = [
        f"{heading}:\n" + "\n".join(f"  {line}" for line in lines)
        for heading, lines in (
            (f"worse than {earlier} by more than {diff.tolerance_db:g} dB", worse),
            (f"in {earlier}, but no longer compared", diff.gone),
        )
        if lines
    ]
    if found:
        raise ParityError("\n".join(found))


def check_checkpoints(earlier: ParityReport, path: str, bundles: Mapping[str, str]) -> None:
    """Refuse (ConfigError) a report that has nothing of a bundle's weights. `bundles`: name -> checkpoint sha256."""
    known = {bundle.checkpoint for bundle in earlier.bundles}
    for name, checkpoint in bundles.items():
        if checkpoint not in known:
            raise ConfigError(
                f"--against {path}: is of the checkpoint{'s' * (len(known) > 1)} "
                f"{', '.join(sorted(one[:12] for one in known))}, but {name} was made from {checkpoint[:12]}: other "
                "weights give other numbers. Give it a report of the same checkpoint."
            )


def diff_entry(diff: Diff, path: str) -> DiffEntry:
    """The diff as the published schema has it."""
    return DiffEntry(
        against=path,
        tolerance_db=diff.tolerance_db,
        changes=[
            ChangeEntry(
                bundle=change.bundle,
                component=change.row.component,
                method=change.row.method,
                output=change.row.output,
                pair=change.row.pair,
                origin=change.row.origin,
                before_db=level(change.before_db),
                now_db=level(change.now_db),
                other_inputs=change.other_inputs,
                regression=change.fall_db > diff.tolerance_db,
            )
            for change in diff.changes
        ],
        gone=list(diff.gone),
        new=list(diff.new),
    )
