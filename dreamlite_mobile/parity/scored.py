"""The score before and after an export: the same prompts, the same noise, the pictures compared one by one.

Both sides draw from equal seeds, so a picture that turns from right to wrong does so because of the export; a share of
independent pictures would need hundreds of them to tell a loss of three hundredths from chance.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.parity.thresholds import coarsest, score_loss_limit
from dreamlite_mobile.tiny.evaluate import Evaluation
from dreamlite_mobile.tiny.score import Score, score


@dataclass(frozen=True, slots=True)
class GroupScores:
    """One group of prompts on both sides. `lost`: pictures right before and wrong after; `gained`: the other way."""

    group: str
    pictures: int
    before: Score
    after: Score
    lost: int
    gained: int


@dataclass(frozen=True, slots=True)
class Scored:
    """Everything drawn before the export, by the float32 reference, and after it, through the files."""

    before: Evaluation
    after: Evaluation

    def groups(self) -> list[GroupScores]:
        """Every group, compared picture by picture.

        Raises:
            ConfigError: the two sides drew other prompts.
        """
        if self.before.asked() != self.after.asked():
            raise ConfigError("scores of two sides that were asked for other pictures cannot be compared")
        return [self._group(name) for name in self.before.made]

    def _group(self, name: str) -> GroupScores:
        before = [one.judged for one in self.before.made[name]]
        after = [one.judged for one in self.after.made[name]]
        pairs = [(one.right, other.right) for one, other in zip(before, after, strict=True)]
        return GroupScores(
            name, len(pairs), score(before), score(after), pairs.count((True, False)), pairs.count((False, True))
        )

    def loss(self) -> float:
        """The share of all pictures that the export turned wrong, less those that it turned right."""
        groups = self.groups()
        return sum(one.lost - one.gained for one in groups) / sum(one.pictures for one in groups)

    def complaint(self, precisions: Iterable[str]) -> str | None:
        """What is wrong, or None while the loss is within the limit of the coarsest precision, or of one picture."""
        precision = coarsest(precisions)
        limit, groups, loss = score_loss_limit(precision), self.groups(), self.loss()
        pictures = sum(one.pictures for one in groups)
        if limit is None or loss <= max(limit, 1 / pictures):
            return None
        return (
            f"score ({precision}): {sum(one.lost for one in groups)} of {pictures} pictures turned wrong and "
            f"{sum(one.gained for one in groups)} right, a loss of {loss:.3f}; at most {limit:g} may be lost"
        )
