"""The Kotlin side as CI can build it: Maven over the same sources as Gradle's, and Gradle's files held against Maven's.

Nothing here is skipped: without a JDK, Maven or g++ (`.ci/setup-tests` installs them) the tests fail and say so.
"""

import hashlib
import io
import re
import shutil
import subprocess
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import executorch
import pytest
from bundles import exported
from golden_vectors import golden_folder
from PIL import Image
from run_folder import made_once
from sharded_bundle import sharded_folder
from sized_bundle import sized_folder

from dreamlite_mobile.device.places import ACTIVITY, BUNDLES
from dreamlite_mobile.device.places import APP as PACKAGE
from dreamlite_mobile.device.plausible import check_answer, check_clock
from dreamlite_mobile.device.schema import RunRequest, RunResult
from export.targets import COMPILER_QNN

pytestmark = pytest.mark.android

ROOT = Path(__file__).parents[1]
APP = ROOT / "android_app"
MODULES = ("core", "host", "executorch", "androidx", "app")
ONLY_MAVEN = {"host", "androidx"}
"""What Gradle gets from AARs."""
TESTED = {"core": 50, "executorch": 15, "app": 45}
"""Modules with tests, and how many there are at least."""
ANDROID_ONLY = {"agp", "qnn"}
MAVEN_ONLY = {"ktlint", "junit4", "robolectric", "android", "androidx.monitor", "apktool", "r8", "apksig"}
APK_LIMIT = 8_000_000
ANDROID = "{http://schemas.android.com/apk/res/android}"
MIN_SDK = 29


def maven(log_folder: Path) -> None:
    """Build and test everything; the log and the exit code are kept, for several tests to judge."""
    needed = [tool for tool in ("java", "mvn", "g++") if shutil.which(tool) is None]
    assert not needed, f"not installed: {', '.join(needed)}; run .ci/setup-tests"
    properties = {
        "golden": golden_folder(),
        "xnnpack": exported("fp32"),
        "onnx": exported("fp32", "onnx"),
        "sharded": sharded_folder(),
        "sized": sized_folder(),
        "executorch": next(iter(executorch.__path__)),
    }
    command = [
        "mvn",
        "-B",
        "-q",
        "clean",
        "package",
        *(f"-Ddreamlite.{name}={value}" for name, value in properties.items()),
    ]
    done = subprocess.run(command, cwd=APP, capture_output=True, text=True, check=False)
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
    assert gradle == set(MODULES) - ONLY_MAVEN
    for module in gradle:
        assert list((APP / module / "src/main/kotlin").rglob("*.kt")), module
        assert (APP / module / "build.gradle.kts").is_file()


def test_core_knows_no_android_and_one_file_knows_executorch() -> None:
    sources = {path: path.read_text() for path in APP.glob("*/src/main/kotlin/**/*.kt")}
    assert not [
        path.name for path, text in sources.items() if re.search(r"\bandroidx?\.", text) and "core" in path.parts
    ]
    assert [path.name for path, text in sources.items() if "org.pytorch" in text] == ["ExecuTorchComponent.kt"]


def test_nothing_newer_than_java_8_is_called() -> None:
    """What Android 10 lacks (`Path.of`, `Stream.toList`, ...) does not compile, whatever JDK compiles it."""
    flag = "-Xjdk-release=1.8"
    assert flag in (APP / "pom.xml").read_text() and flag in (APP / "app/pom.xml").read_text()
    assert flag in (APP / "core/build.gradle.kts").read_text()


def test_the_wrapper_is_pinned_and_only_arm64_is_packed() -> None:
    assert re.search(
        r"gradle-\d+\.\d+(\.\d+)?-bin\.zip", (APP / "gradle/wrapper/gradle-wrapper.properties").read_text()
    )
    for module in ("executorch", "app"):
        build = (APP / module / "build.gradle.kts").read_text()
        assert 'abiFilters += "arm64-v8a"' in build and f"minSdk = {MIN_SDK}" in build
    assert "targetSdk = 35" in (APP / "app/build.gradle.kts").read_text()


def flavours(module: str) -> set[str]:
    return set(re.findall(r'create\("(\w+)"\)', (APP / module / "build.gradle.kts").read_text()))


def test_every_flavour_has_its_source_set_and_says_the_same() -> None:
    assert flavours("app") == flavours("executorch") == {"xnnpack", "qnn"}
    names = {flavour: strings(APP / f"app/src/{flavour}/res/values/runtime.xml") for flavour in flavours("app")}
    assert names["xnnpack"].keys() == names["qnn"].keys()
    assert names["xnnpack"]["qnn_version"] == ""
    assert names["qnn"]["qnn_version"] == catalog()["versions"]["qnn"]
    main = strings(APP / "app/src/main/res/values/runtime.xml")
    assert main["executorch_version"] == catalog()["versions"]["executorch"]


def strings(path: Path) -> dict[str, str]:
    return {element.attrib["name"]: element.text or "" for element in ET.parse(path).getroot().findall("string")}


def test_the_qnn_runtime_is_no_older_than_the_compiler() -> None:
    numbers = [tuple(map(int, version.split("."))) for version in (str(catalog()["versions"]["qnn"]), COMPILER_QNN)]
    assert numbers[0] >= numbers[1]


def test_the_manifest_is_one_that_gradle_merges() -> None:
    """No package (Gradle's namespace is it), no placeholder but Gradle's own, every class of ours in the sources."""
    text = (APP / "app/src/main/AndroidManifest.xml").read_text()
    manifest = ET.fromstring(text)
    assert "package" not in manifest.attrib
    assert set(re.findall(r"\$\{(\w+)\}", text)) == {"applicationId"}
    ours = {
        element.attrib[f"{ANDROID}name"]
        for element in manifest.iter()
        if element.tag in ("application", "activity", "service", "provider")
    }
    classes = {f"dreamlite.app.{path.stem}" for path in (APP / "app/src/main/kotlin/dreamlite/app").glob("*.kt")}
    assert ours - classes == {"androidx.core.content.FileProvider"}
    build = (APP / "app/build.gradle.kts").read_text()
    assert 'namespace = "dreamlite.app"' in build and 'applicationId = "dreamlite.app"' in build


def statements(manifest: ET.Element) -> Iterator[tuple[str, str, str]]:
    """(element, attribute, value) of all that is compared: one application, others known by their names."""
    for element in manifest.iter():
        name = "" if element.tag == "application" else element.attrib.get(f"{ANDROID}name", "")
        where = f"{element.tag} {name}"
        for attribute, value in element.attrib.items():
            if attribute.startswith(ANDROID) and element.tag not in ("uses-sdk", "action", "category"):
                yield where, attribute, value.replace("${applicationId}", PACKAGE)


def library_manifests() -> dict[str, ET.Element]:
    """Of every AAR that the app is built of; Maven has put them there."""
    found = {}
    for path in sorted((APP / "androidx/target/libraries").glob("*.aar")):
        with ZipFile(path) as archive:
            found[path.name] = ET.fromstring(archive.read("AndroidManifest.xml"))
    return found


def test_no_library_contradicts_the_manifest(built: Path) -> None:
    """Android's rule of merging: nobody wants a newer Android than the app, and no attribute has two values.

    Nothing overrules by `tools:replace`, so a second value would end Gradle's build.
    """
    assert built
    libraries = library_manifests()
    assert len(libraries) > 30
    said: dict[tuple[str, str], tuple[str, str]] = {}
    own = {"the app": ET.parse(APP / "app/src/main/AndroidManifest.xml").getroot()}
    for name, manifest in {**own, **libraries}.items():
        for sdk in manifest.iter("uses-sdk"):
            assert int(sdk.attrib.get(f"{ANDROID}minSdkVersion", "1")) <= MIN_SDK, name
        for where, attribute, value in statements(manifest):
            before, other = said.setdefault((where, attribute), (value, name))
            assert before == value, f"{where}: {attribute} is {before} in {other}, {value} in {name}"
    providers = {where for where, _ in said if where.startswith("provider ")}
    assert "provider androidx.startup.InitializationProvider" in providers


def test_the_harness_starts_an_activity_that_is_there() -> None:
    package, _, activity = ACTIVITY.partition("/")
    assert f'android:name="{activity}"' in (APP / "app/src/main/AndroidManifest.xml").read_text()
    assert package == PACKAGE
    assert f'"{BUNDLES}"' in (APP / "app/src/main/kotlin/dreamlite/app/data/Imports.kt").read_text()


def test_every_string_on_the_screens_is_a_resource() -> None:
    """No literal words in a composable, and no string that nothing shows."""
    sources = {path: path.read_text() for path in (APP / "app/src/main/kotlin").rglob("*.kt")}
    for path, text in sources.items():
        if path.parent.name == "ui":
            assert not re.findall(r'Text\(\s*"', text), path.name
    used = "".join(sources.values())
    for name in strings(APP / "app/src/main/res/values/strings.xml"):
        assert re.search(rf"R\.(string|array)\.{name}\b", used) or name == "app_name", name


def test_the_apk_is_signed_and_small(built: Path) -> None:
    log = (built / "log").read_text()
    size = (APP / "app/target/app-debug.apk").stat().st_size
    assert f"app-debug.apk: {size} bytes" in log
    print(f"app-debug.apk: {size} bytes")
    assert size <= APK_LIMIT
