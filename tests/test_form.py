"""Which form each component of a bundle is written in: its backend's and precision's, asked at one place."""

from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest
import small_bundle
from checkpoint_files import tiny_checkpoint
from torch import nn

from dreamlite_mobile.bundle import Bundle
from dreamlite_mobile.bundle_checks import geometry
from dreamlite_mobile.bundle_files import read_manifest
from dreamlite_mobile.checkpoint import open_checkpoint
from dreamlite_mobile.cli.judge import bisect_bench
from dreamlite_mobile.cli.watching import written_methods
from dreamlite_mobile.components import Geometry, component_specs
from dreamlite_mobile.config import TINY
from dreamlite_mobile.errors import ConfigError
from dreamlite_mobile.latency.picture import calls_of
from dreamlite_mobile.networks.form import HTP, HTP_INTEGERS, Form, form_of
from dreamlite_mobile.parity.run import sample_cases
from export.backends import CoreMLExporter, OnnxExporter, XnnpackExporter
from export.htp import QnnExporter
from export.parts import lower

GEOMETRY = Geometry(TINY, 96, 64, drop_generate=6, drop_edit=9, states_generate=20, states_edit=90)
MIXED = {"unet": "w8a16", "vision_encoder": "fp16"}
"""Both have GELU."""
FORMS = {"unet": "htp-integers", "vision_encoder": "htp"}
EXPORTERS = {"xnnpack": XnnpackExporter, "onnx": OnnxExporter, "coreml": CoreMLExporter, "qnn": QnnExporter}


def forms_in(network: nn.Module) -> set[str]:
    """Names of the forms that modules of a network remember."""
    return {module.form.name for module in network.modules() if isinstance(getattr(module, "form", None), Form)}


@pytest.fixture
def mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A manifest of components in different precisions, for the HTP; its programs are placeholders."""
    monkeypatch.setattr(small_bundle, "CONFIG", TINY)
    monkeypatch.setattr(small_bundle, "GEOMETRY", GEOMETRY)
    known = read_manifest(small_bundle.write_bundle(tmp_path / "bundle"))
    components = {
        name: part.model_copy(update={"precision": MIXED.get(name, "fp16")}) for name, part in known.components.items()
    }
    return Bundle(tmp_path / "bundle", known.model_copy(update={"backend": "qnn", "components": components}))


def test_only_the_htp_in_integers_has_a_form_of_its_own() -> None:
    for backend, made in EXPORTERS.items():
        known = {precision for precisions in made.precisions.values() for precision in precisions}
        if backend == "qnn":
            assert {name for name in known if form_of(backend, name) is HTP} == {"fp16"}
            assert {name for name in known if form_of(backend, name) is HTP_INTEGERS} == known - {"fp16"}
        else:
            assert {form_of(backend, name).name for name in known} == {backend}
    differing = {key for key, choice in asdict(HTP).items() if asdict(HTP_INTEGERS)[key] != choice}
    assert differing == {"name", "gelu"} and HTP_INTEGERS.gelu == "op"


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown backend 'qn'; known: coreml, onnx, qnn, xnnpack. Did you mean"):
        form_of("qn", "fp16")


@pytest.mark.parametrize("component", MIXED)
def test_the_exporter_is_given_each_component_in_its_own_form(tmp_path: Path, component: str) -> None:
    given: dict[str, nn.Module] = {}
    plan = SimpleNamespace(
        request=SimpleNamespace(
            checkpoint=open_checkpoint(tiny_checkpoint()), backend="qnn", modes=("edit",), cutting=None
        ),
        exporter=SimpleNamespace(write=lambda _spec, modules, _precision, _folder: given.update(modules)),
        geometry=GEOMETRY,
        precisions=MIXED,
        specs=component_specs(GEOMETRY, ("edit",)),
    )
    lower(plan, component, tmp_path)  # type: ignore[arg-type]
    (network,) = given.values()
    assert forms_in(network) == {FORMS[component]}


@pytest.mark.parametrize("component", MIXED)
def test_a_bisection_and_the_numbers_watch_look_at_the_form_that_was_exported(
    tmp_path: Path, mixed: Bundle, component: str
) -> None:
    checkpoint, wanted = open_checkpoint(tiny_checkpoint()), {FORMS[component]}
    case = sample_cases(component_specs(geometry(mixed.manifest), ("edit",), (component,)))[0]
    assert forms_in(bisect_bench(mixed, checkpoint, case, tmp_path).formed()) == wanted
    for network in written_methods(mixed, checkpoint, component).values():
        assert forms_in(network) == wanted


def test_an_estimate_counts_the_operators_of_its_precision(mixed: Bundle) -> None:
    """One operator instead of the eight of GELU's primitives, in every feed-forward; the arithmetic is the same."""
    found = {}
    for precision in ("fp16", "w8a16", "w4a16"):
        calls = calls_of(mixed.manifest, "generate", 4, precision)
        found[precision] = next(call.work for call in calls if call.component == "unet")
    assert found["fp16"].operators > found["w8a16"].operators == found["w4a16"].operators
    assert found["fp16"].macs == found["w8a16"].macs
