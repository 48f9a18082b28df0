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
    program = Runtime.get().load_program(compiled.program.buffer)
    return [program.load_method(name).execute(values)[0] for name, values in inputs.items()]


def equal(one, other):
    return all(torch.equal(mine, others) for mine, others in zip(one, other, strict=True))


found = {}
for modes in (("generate",), ("generate", "edit")):
    shards = phases(modes)
    weighty = [index for index, shard in enumerate(shards) if shard.volume]  # moments of norms have no weights
    groups = {len(group): group for group in alike(shards, weighty) if len(group) > 1}
    for group in list(groups.values())[: 3 if len(modes) == 1 else 1]:
        several = [methods_of(plainly_named(shards[index])) for index in group[:3]]
        inputs = {name: values for name, (_, values) in several[0].items()}
        traced.clear()
        together = list(qnn.lower_alike(several, SOC, False))
        count = sum(traced.values())
        alone = [qnn.lower(methods, SOC, False) for methods in several]
        results = [given(one, inputs) for one in together]
        same = [equal(one, given(other, inputs)) for one, other in zip(results, alone, strict=True)]
        apart = [not equal(results[0], other) for other in results[1:]]
        found[f"{shards[group[0]].begins} {len(modes)}"] = [len(several), count / len(modes), same, apart]

unlike = [methods_of(plainly_named(phases()[index])) for index in (6, 6)]
qnn_alike.same = lambda one, other: False
traced.clear()
list(qnn.lower_alike(unlike, SOC, False))
found["weights that are not found"] = sum(traced.values())
print("SAID" + json.dumps(found), flush=True)
"""


def test_shards_compiled_from_anothers_graph_give_what_they_give_alone() -> None:
    """To the bit, in one method and in two, and not what the other gives. Only the first is traced, unless its weights
    are not found again."""
    found = said(ALIKE)
    assert found.pop("weights that are not found") == 2
    assert {name[-1] for name in found} == {"1", "2"} and len(found) >= 3
    for name, (count, traced, same, apart) in found.items():
        assert count >= 2 and traced == 1, name
        assert all(same) and all(apart), name
