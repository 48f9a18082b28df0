"""The fit as a file, so that documents follow from files alone and a refit can be compared with it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.latency_model.counts import FOLDER, read_works
from benchmarks.latency_model.fit import (
    PULL,
    PULLS,
    Fitted,
    Form,
    Left,
    Row,
    digest_of,
    fit,
    fits_without,
    left_out,
    packaged,
    rates_of,
    rows_of,
)
from dreamlite_mobile.latency.rates import Rates
from dreamlite_mobile.latency.work import Work

MEASUREMENTS, WORKS, RESULTS = (FOLDER / name for name in ("measurements.json", "works.json", "results.json"))
RATES = FOLDER.parents[1] / "dreamlite_mobile/latency/rates.json"
Name = str
"""`sum`, `roofline`, or `sum, pull N`."""


@dataclass(frozen=True, slots=True)
class Result:
    """One form of the model, fitted to everything and with every network left out."""

    fitted: Fitted
    left: tuple[Left, ...]
    without: Mapping[str, Fitted]
    """Network -> the fit that has not seen it."""

    @property
    def spread(self) -> float:
        """Root mean square of the logarithm of measured over predicted."""
        return float(np.sqrt(np.mean(np.log([one.ratio for one in self.left]) ** 2)))

    def quantile(self, share: float) -> float:
        return float(np.quantile([one.ratio for one in self.left], share))


def table() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(MEASUREMENTS.read_text())
    return found


def works() -> dict[str, Work]:
    return read_works(WORKS)


def refit_one(form: Form = "sum", pull: float = PULL) -> Result:
    """One form of the model again, from measurements and works; seconds."""
    rows, _ = rows_of(table())
    without = fits_without(rows, works(), form, pull)
    return Result(fit(rows, works(), form, pull), tuple(left_out(rows, works(), without)), without)


def refit() -> dict[Name, Result]:
    """The form in use, the other one, and other strengths of what is expected beforehand."""
    others = {f"sum, pull {pull:g}": refit_one(pull=pull) for pull in PULLS if pull != PULL}
    return {"sum": refit_one(), "roofline": refit_one("roofline"), **others}


def write_results(results: Mapping[Name, Result]) -> None:
    """The file, and the rates that go into the package."""
    data = {
        form: {
            **fitted_json(one.fitted),
            "without": {net: fitted_json(fitted) for net, fitted in one.without.items()} if form == "sum" else {},
            "left_out": [
                [left.row.net, left.row.precision, left.row.soc, left.row.ms, round(left.predicted, 4)]
                for left in one.left
            ],
        }
        for form, one in results.items()
    }
    text = json.dumps(data, indent=1).replace("\n    ", " ").replace("\n   ]", "]").replace("\n   }", "}")
    RESULTS.write_text(text + "\n")
    best = read_results()["sum"]
    rates = packaged(best.fitted, best.left, table(), digest_of(MEASUREMENTS))
    RATES.write_text(rates.model_dump_json(indent=1) + "\n")


def fitted_json(fitted: Fitted) -> dict[str, dict[str, float]]:
    return {
        "ms": {name: round(value, 6) for name, value in fitted.ms.items()},
        "slower": {soc: round(value, 6) for soc, value in fitted.slower.items()},
    }


def read_results(path: Path = RESULTS) -> dict[Name, Result]:
    data = json.loads(path.read_text())
    return {
        name: Result(
            fitted_of(one, name),
            tuple(Left(Row(*left[:4]), left[4]) for left in one["left_out"]),
            {net: fitted_of(other, name) for net, other in one["without"].items()},
        )
        for name, one in data.items()
    }


def fitted_of(data: Mapping[str, Any], name: Name) -> Fitted:
    return Fitted(data["ms"], data["slower"], "roofline" if name == "roofline" else "sum")


def read_rates() -> Rates:
    return Rates.model_validate_json(RATES.read_text())


def rates_without() -> dict[str, Rates]:
    """Network -> rates that have not seen it, for what a prediction owes to each of them."""
    found = {}
    for net, fitted in read_results()["sum"].without.items():
        ms, chips = rates_of(fitted, read_rates().chips)
        found[net] = read_rates().model_copy(update={"ms": ms, "chips": chips})
    return found
