"""The Kotlin side as CI can build it: Maven over the same sources as Gradle's, and Gradle's files held against Maven's.

Nothing here is skipped: without a JDK, Maven or g++ (`.ci/setup-tests` installs them) the tests fail and say so.
"""

import hashlib
import io
import os
import re
import shutil
import subprocess
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import executorch
import pytest
from bundles import exported
from golden_vectors import golden_folder
from PIL import Image
from run_folder import made_once

from dreamlite_mobile.device.plausible import check_answer, check_clock
from dreamlite_mobile.device.schema import RunRequest, RunResult

pytestmark = pytest.mark.android

ROOT = Path(__file__).parents[1]
APP = ROOT / "android_app"
MODULES = ("core", "host", "executorch")
TESTED = {"core": 50, "executorch": 15}
"""Modules with tests, and how many there are at least."""
ANDROID_ONLY, MAVEN_ONLY = {"agp"}, {"ktlint"}


def maven(log_folder: Path) -> None:
    """Build and test everything; the log and the exit code are kept, for several tests to judge."""
    needed = [tool for tool in ("java", "mvn", "g++") if shutil.which(tool) is None]
    assert not needed, f"not installed: {', '.join(needed)}; run .ci/setup-tests"
    properties = {
        "golden": golden_folder(),
        "xnnpack": exported("fp32"),
        "onnx": exported("fp32", "onnx"),
        "executorch": next(iter(executorch.__path__)),
    }
    command = [
        "mvn",
        "-B",
        "-q",
        "clean",
        "test",
        *(f"-Ddreamlite.{name}={value}" for name, value in properties.items()),
    ]
    environment = {"MAVEN_OPTS": "-Xmx2g", **os.environ}
    done = subprocess.run(command, cwd=APP, env=environment, capture_output=True, text=True, check=False)
    log_folder.mkdir()
    (log_folder / "log").write_text(done.stdout + done.stderr)
    (log_folder / "code").write_text(str(done.returncode))


@pytest.fixture(scope="module")
def built() -> Path:
    return made_once("maven", maven)


def suites(module: str) -> list[ET.Element]:
    return [ET.parse(path).getroot() for path in sorted((APP / module / "target/surefire-reports").glob("TEST-*.xml"))]


def total(module: str, count: str) -> int:
    return sum(int(suite.attrib[count]) for suite in suites(module))


def test_maven_builds_and_every_kotlin_test_passes(built: Path) -> None:
    assert (built / "code").read_text() == "0", (built / "log").read_text()[-8000:]


@pytest.mark.parametrize("module", TESTED)
def test_no_kotlin_test_is_skipped_or_missing(built: Path, module: str) -> None:
    assert total(module, "tests") >= TESTED[module]
    assert total(module, "skipped") == total(module, "failures") == total(module, "errors") == 0


def test_the_pictures_were_compared_with_pythons(built: Path) -> None:
    (suite,) = (suite for suite in suites("executorch") if suite.attrib["name"].endswith("ParityTest"))
    lines = re.findall(r"\b(xnnpack|onnx) (generate|edit): latents (\S+), picture (\S+) dB", "".join(suite.itertext()))
    assert {line[:2] for line in lines} == {(b, m) for b in ("xnnpack", "onnx") for m in ("generate", "edit")}
    assert all(float(latents) <= 1e-4 and float(decibels) >= 60 for _, _, latents, decibels in lines)


@pytest.mark.parametrize("module", ["core", "executorch"])
@pytest.mark.parametrize("mode", ["generate", "edit"])
def test_what_kotlin_answers_passes_the_hosts_checks(built: Path, module: str, mode: str) -> None:
    """Oracle: the code that judges a phone's answers, over files that the Kotlin tests of one Maven run left."""
    out = APP / module / "target/bench" / ("answers" if module == "core" else "") / mode
    request = RunRequest.model_validate_json((out / "request.json").read_bytes())
    data = (out / "result.json").read_bytes()
    assert (out / "done").read_text() == hashlib.sha256(data).hexdigest()
    result = RunResult.model_validate_json(data)
    check_answer(str(out), request, result)
    check_clock("jvm", result, (result.end.wall_ms - result.begin.wall_ms) / 1000)
    assert result.picture is not None
    picture = (out / result.picture.file).read_bytes()
    assert hashlib.sha256(picture).hexdigest() == result.picture.sha256
    assert Image.open(io.BytesIO(picture)).size == (64, 64)


def test_what_kotlin_refuses_is_an_answer_too(built: Path) -> None:
    result = RunResult.model_validate_json((APP / "core/target/bench/answers/refused/result.json").read_bytes())
    assert result.problem is not None and "is another bundle" in result.problem and not result.samples


def maven_properties() -> dict[str, str]:
    """The pom's `NAME.version` properties by name."""
    properties = ET.parse(APP / "pom.xml").getroot().find("{*}properties")
    assert properties is not None
    named = {element.tag.rpartition("}")[2]: element.text or "" for element in properties}
    return {name.removesuffix(".version"): value for name, value in named.items() if name.endswith(".version")}


def catalog() -> dict[str, dict[str, object]]:
    return tomllib.loads((APP / "gradle/libs.versions.toml").read_text())


def test_gradle_and_maven_use_the_same_versions() -> None:
    versions = {name: version for name, version in catalog()["versions"].items() if name not in ANDROID_ONLY}
    assert versions == {name: version for name, version in maven_properties().items() if name not in MAVEN_ONLY}


def test_the_app_runs_what_the_exporter_compiles() -> None:
    pins = (ROOT / ".ci/constraints.txt").read_text()
    assert f"executorch=={catalog()['versions']['executorch']} " in pins


def test_every_library_of_the_catalog_has_a_version_and_is_used() -> None:
    builds = "".join(path.read_text() for path in APP.rglob("build.gradle.kts"))
    for name, entry in catalog()["libraries"].items():
        assert entry["version"]["ref"] in catalog()["versions"], name
        assert f"libs.{name.replace('-', '.')})" in builds or name in ("onnxruntime",), name


def test_both_builds_have_the_same_modules_with_sources() -> None:
    settings = (APP / "settings.gradle.kts").read_text()
    gradle = set(re.findall(r'":(\w+)"', settings))
    pom = ET.parse(APP / "pom.xml").getroot()
    assert {element.text for element in pom.findall("{*}modules/{*}module")} == set(MODULES)
    assert gradle == set(MODULES) - {"host"}
    for module in gradle:
        assert list((APP / module / "src/main/kotlin").rglob("*.kt")), module
        assert (APP / module / "build.gradle.kts").is_file()


def test_core_knows_no_android_and_one_file_knows_executorch() -> None:
    sources = {path: path.read_text() for path in APP.glob("*/src/main/kotlin/**/*.kt")}
    assert not [
        path.name for path, text in sources.items() if re.search(r"\bandroidx?\.", text) and "core" in path.parts
    ]
    assert [path.name for path, text in sources.items() if "org.pytorch" in text] == ["ExecuTorchComponent.kt"]


def test_the_wrapper_is_pinned_and_only_arm64_is_packed() -> None:
    assert re.search(
        r"gradle-\d+\.\d+(\.\d+)?-bin\.zip", (APP / "gradle/wrapper/gradle-wrapper.properties").read_text()
    )
    build = (APP / "executorch/build.gradle.kts").read_text()
    assert 'abiFilters += "arm64-v8a"' in build and "minSdk = 29" in build
