"""Shards that are compiled from another's graph, on the emulator. Oracle: each traced and compiled alone."""

import pytest
from qnn_runs import said

pytestmark = pytest.mark.qnn

ALIKE = """
import json
from collections import Counter
from export.qnn_sdk import ready
ready()
import torch
from executorch.runtime import Runtime
from export import qnn, qnn_alike
from export.alike import alike, plainly_named
from export.htp_shards import methods_of
from export.targets import target
from phased import phases

SOC = target("SM8650")
traced = Counter()
real = qnn.guarded
qnn.guarded = lambda name, *given: (traced.update([name]), real(name, *given))[1]


def given(compiled, inputs):
    return Runtime.get().load_program(compiled.program.buffer).load_method("generate").execute(inputs)[0]


shards, found = phases(), {}
groups = {len(group): group for group in alike(shards, range(len(shards))) if len(group) > 1}
begins = {shards[group[0]].begins: group for group in groups.values()}
for name, group in begins.items():
    group = group[:3]
    several = [methods_of(plainly_named(shards[index])) for index in group]
    inputs = several[0]["generate"][1]
    traced.clear()
    together = list(qnn.lower_alike(several, SOC, False))
    count = sum(traced.values())
    alone = [qnn.lower(methods, SOC, False) for methods in several]
    results = [given(one, inputs) for one in together]
    same = [bool(torch.equal(one, given(other, inputs))) for one, other in zip(results, alone, strict=True)]
    apart = [bool(torch.equal(results[0], other)) for other in results[1:]]
    moved = [one.traffic == other.traffic for one, other in zip(together, alone, strict=True)]
    found[name] = [len(group), count, same, apart, moved]

unlike = [methods_of(plainly_named(shards[index])) for index in list(begins.values())[0][:2]]
qnn_alike.same = lambda one, other: False
traced.clear()
list(qnn.lower_alike(unlike, SOC, False))
found["weights that are not found"] = sum(traced.values())
print("SAID" + json.dumps(found), flush=True)
"""


def test_shards_compiled_from_anothers_graph_give_what_they_give_alone() -> None:
    """To the bit, and not what the other gives; only the first is traced, unless its weights are not found again."""
    found = said(ALIKE)
    assert found.pop("weights that are not found") == 2
    assert len(found) >= 2
    for name, (count, traced, same, others, moved) in found.items():
        assert count >= 2 and traced == 1, name
        assert all(same) and not any(others) and all(moved), name
