"""What the project says about itself holds together."""

import re
from pathlib import Path

from dreamlite_mobile import __version__
from dreamlite_mobile.cli.diagnosis import PINNED

ROOT = Path(__file__).parents[1]


def pins() -> dict[str, str]:
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    return dict(re.match(r"([\w-]+)==([\w.]+)", line).groups() for line in lines if line and not line.startswith("#"))


def test_doctor_wants_the_versions_that_the_constraints_pin() -> None:
    found = pins()
    assert {name: found[name] for name in PINNED} == PINNED


def test_the_package_and_the_project_have_one_version() -> None:
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_what_matters_is_pinned_with_a_reason() -> None:
    text = (ROOT / ".ci" / "constraints.txt").read_text()
    for name in ("torch", "executorch", "torchao", "coremltools", "onnxruntime-qnn"):
        assert re.search(rf"^{name}==\S+ +# \w", text, re.MULTILINE), name


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = re.findall(r"^\.ci/setup && .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(commands) == 2
    tests = [command for command in commands if "pytest" in command]
    assert len(tests) == 1 and tests[0] in (ROOT / ".ci" / "run").read_text().splitlines()
