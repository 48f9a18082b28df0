"""Fit the rates and write every document: `python -m benchmarks.latency_model`, with `--recount` to count all works."""

import sys
import warnings

from benchmarks.latency_model.counts import write_works
from benchmarks.latency_model.document import README, readme
from benchmarks.latency_model.dreamlite import DOCUMENT, WORKS_OF_DREAMLITE, count_dreamlite, dreamlite
from benchmarks.latency_model.nets import NETS, work_of
from benchmarks.latency_model.results import WORKS, refit, write_results

if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    if "--recount" in sys.argv[1:]:
        write_works(WORKS, {name: work_of(name) for name in NETS})
        write_works(WORKS_OF_DREAMLITE, count_dreamlite())
    write_results(refit())
    README.write_text(readme())
    DOCUMENT.write_text(dreamlite())
