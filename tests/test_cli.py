"""The command line: what it makes, what it refuses, exit codes, and stdout that stays clean."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bundles import exported
from checkpoint_files import tiny_checkpoint
from PIL import Image

from dreamlite_mobile.noise import initial_latents


@pytest.fixture(scope="module")
def bundle() -> Path:
    return exported("fp32")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "source.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(path)
    return path


def test_generate_writes_a_png_that_says_how_it_was_made(run, bundle: Path, tmp_path: Path) -> None:
    found = run("generate", bundle, "a red circle", "--out", tmp_path / "a.png", "--seed", 5, "--json")
    assert found.code == 0 and found.data["steps"] == 4 and found.data["seconds"]["unet"] > 0
    image = Image.open(tmp_path / "a.png")
    assert image.size == (64, 64)
    assert image.text["prompt"] == "a red circle" and image.text["seed"] == "5" and image.text["steps"] == "4"
    assert "unet=fp32" in image.text["precision"] and image.text["model"]


def test_a_seed_repeats_and_equals_its_latents_as_a_file(run, bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "noise.npy", initial_latents(5, (1, 4, 8, 8)))
    for name, more in {"a": ("--seed", 5), "b": ("--seed", 5), "c": ("--seed", 6)}.items():
        assert run("generate", bundle, "a red circle", "--out", tmp_path / f"{name}.png", *more).code == 0
    latents = ("--latents", tmp_path / "noise.npy")
    assert run("generate", bundle, "a red circle", "--out", tmp_path / "d.png", *latents).code == 0
    a, b, c, d = (np.asarray(Image.open(tmp_path / f"{name}.png")) for name in "abcd")
    assert np.array_equal(a, b) and np.array_equal(a, d) and not np.array_equal(a, c)


def test_edit_changes_a_picture(run, bundle: Path, picture: Path, tmp_path: Path) -> None:
    found = run("edit", bundle, picture, "the circle in yellow", "--out", tmp_path / "b.png", "--frugal", "--json")
    assert found.code == 0 and set(found.data["seconds"]) > {"vision_encoder", "vae_encoder"}
    assert Image.open(tmp_path / "b.png").text["mode"] == "edit"


def test_a_long_prompt_names_the_lost_words(run, bundle: Path, tmp_path: Path) -> None:
    prompt = "a red circle " * 120 + "and a heron"
    found = run("generate", bundle, prompt, "--out", tmp_path / "a.png", "--steps", 1, "--json")
    assert found.code == 0 and "heron" in found.err and found.data["steps"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("",), "prompt: empty"),
        (("a <|image_pad|>",), "stands for a picture"),
        (("a", "--steps", "0"), "steps: found 0"),
        (("a", "--steps", "51"), "steps: found 51"),
        (("a", "--seed", "-1"), "seed"),
        (("a", "--seed", str(2**64)), "seed"),
        (("a", "--latents", "/nowhere.npy"), "nowhere.npy"),
    ],
)
def test_generate_refuses(run, bundle: Path, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    found = run("generate", bundle, *arguments, "--out", tmp_path / "a.png")
    assert found.code == 1 and message in found.err and "Traceback" not in found.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("out", ["missing/a.png", "a.jpg", "/dev/null"])
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    run, bundle: Path, tmp_path: Path, out: str
) -> None:
    found = run("generate", bundle, "a", "--out", tmp_path / out)
    assert found.code == 1 and "output" in found.err
    assert not list(tmp_path.iterdir())


def test_edit_refuses_what_is_no_usable_picture(run, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    for source in ("missing.png", "text.png", "dot.png", "."):
        found = run("edit", bundle, tmp_path / source, "make it blue", "--out", tmp_path / "out.png")
        assert found.code == 1 and "error" in found.err and "Traceback" not in found.err, source
        assert not (tmp_path / "out.png").exists()


def test_edit_without_a_picture_is_wrong_usage(run, bundle: Path) -> None:
    assert run("edit", bundle).code == 2


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "L", "I;16"])
def test_edit_takes_sane_pictures_of_every_kind(run, bundle: Path, tmp_path: Path, mode: str) -> None:
    random = np.random.default_rng(0)
    if mode == "I;16":
        image = Image.fromarray(random.integers(0, 65535, (40, 40), dtype=np.uint16))
    else:
        image = Image.fromarray(random.integers(0, 255, (40, 40, 3), dtype=np.uint8)).convert(mode)
    path = tmp_path / ("source.jpg" if mode == "CMYK" else "source.png")
    image.save(path)
    assert run("edit", bundle, path, "make it blue", "--out", tmp_path / "out.png", "--steps", 1).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "100"), "nearest"),
        (("--size", "64x"), "size"),
        (("--size", "99968"), "at most 2048"),
        (("--backend", "xnnpak"), "Did you mean 'xnnpack'"),
        (("--precision", "int8"), "unknown preset"),
        (("--modes", "genrate"), "Did you mean 'generate'"),
        (("--modes", ","), "names separated by commas"),
        (("--components", "unett"), "Did you mean 'unet'"),
    ],
)
def test_export_refuses(run, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    found = run("export", tiny_checkpoint(), "--out", tmp_path / "bundle", *arguments)
    assert found.code == 1 and message in found.err.replace("\n", " ") and "Traceback" not in found.err
    assert not list(tmp_path.iterdir())


def test_export_refuses_a_missing_checkpoint_and_an_existing_target(run, bundle: Path, tmp_path: Path) -> None:
    assert run("export", tmp_path / "nothing", "--out", tmp_path / "bundle").code == 1
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "mine.txt").write_text("keep")
    export = ("export", tiny_checkpoint(), "--out", tmp_path / "bundle", "--size", "64", "--components", "vae_decoder")
    assert run(*export).code == 1
    assert run(*export, "--force").code == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["bundle", "mine.txt"]


def test_dry_run_says_what_would_be_made_and_writes_nothing(run, bundle: Path, tmp_path: Path) -> None:
    export = ("export", tiny_checkpoint(), "--out", tmp_path / "b", "--size", "64", "--dry-run", "--json")
    found = run(*export)
    assert found.code == 0 and not list(tmp_path.iterdir())
    real = sum(file.stat().st_size for file in bundle.iterdir() if file.suffix in (".pte", ".bin"))
    assert found.data["expected_bytes"] == pytest.approx(real, rel=0.25)
    assert found.data["expected_bytes"] > run(*export, "--precision", "w4").data["expected_bytes"]


def test_interrupting_an_export_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from dreamlite_mobile.cli import main; main()", "export", str(tiny_checkpoint())]
    process = subprocess.Popen(
        [*command, "--out", str(tmp_path / "bundle"), "--size", "64"],
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert any(tmp_path.iterdir()), "the export never began"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert not list(tmp_path.iterdir())


def test_an_interruption_that_a_library_turned_into_its_own_error_is_still_one() -> None:
    program = """
import os, signal
import dreamlite_mobile.cli.main
import sys
command = sys.modules["dreamlite_mobile.cli.main"]
def app():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt as error:
        raise RuntimeError("a library's") from error
command.app = app
command.main()
"""
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 130 and "Traceback" not in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143)])
def test_terminating_an_export_leaves_nothing(tmp_path: Path, number: int, code: int) -> None:
    command = [sys.executable, "-c", "from dreamlite_mobile.cli import main; main()", "export", str(tiny_checkpoint())]
    process = subprocess.Popen([*command, "--out", str(tmp_path / "bundle"), "--size", "64"], stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not any(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert not list(tmp_path.iterdir())


def test_a_full_stdout_is_one_line_and_no_traceback(bundle: Path) -> None:
    command = [sys.executable, "-c", "from dreamlite_mobile.cli import main; main()", "inspect", str(bundle), "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().startswith("error: standard output is full") and "Traceback" not in done.stderr


@pytest.mark.parametrize("place", ["missing/report.html", ".", "device"])
def test_parity_refuses_a_report_it_could_not_write_before_any_work(
    run, bundle: Path, tmp_path: Path, place: str
) -> None:
    target = Path("/dev/null") if place == "device" else tmp_path / place
    found = run("parity", bundle, "--checkpoint", "nowhere", "--html", target)
    assert found.code == 1 and "nowhere" not in found.err
    assert Path("/dev/null").is_char_device() and not list(tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "message"), [(("--size", "48"), "48x48"), (("--out", "{file}"), "--out")])
def test_demo_refuses_before_it_makes_anything(run, tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    (tmp_path / "file").write_text("kept")
    filled = [word.format(file=tmp_path / "file") for word in arguments]
    found = run("demo", *(["--out", tmp_path / "demo"] if "--out" not in arguments else []), *filled)
    assert found.code == 1 and message in found.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "kept"


def test_a_revision_of_a_local_folder_is_refused(run, tmp_path: Path) -> None:
    found = run("export", tiny_checkpoint(), "--out", tmp_path / "b", "--revision", "main", "--dry-run")
    assert found.code == 1 and "--revision" in found.err


@pytest.mark.parametrize("count", ["0", "257", "999999999999"])
def test_thread_counts_out_of_range_are_wrong_usage(run, bundle: Path, tmp_path: Path, count: str) -> None:
    assert run("generate", bundle, "x", "--out", tmp_path / "a.png", "--threads", count).code == 2


def test_verify_tells_a_sound_bundle_from_a_damaged_one(run, bundle: Path, copy_of_bundle: Path) -> None:
    assert run("verify", bundle, "--json").data == {"bundle": str(bundle), "sound": True, "problems": []}
    file = copy_of_bundle / "unet.pte"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    found = run("verify", copy_of_bundle, "--json")
    assert found.code == 1 and "unet.pte" in found.data["problems"][0]
    assert run("generate", copy_of_bundle, "a", "--out", copy_of_bundle.parent / "a.png").code == 1


def test_inspect_shows_the_manifest(run, bundle: Path) -> None:
    found = run("inspect", bundle, "--json")
    assert found.code == 0 and found.data["backend"] == "xnnpack" and len(found.data["components"]) == 5
    assert "vision_encoder" in run("inspect", bundle).out


def test_doctor_names_what_is_missing_with_its_mend(run) -> None:
    findings = {item["what"]: item for item in run("doctor", "--json").data["findings"]}
    assert findings["torch"]["mend"] is None and findings["XNNPACK runtime"]["found"] == "registered"


def test_unknown_commands_and_options_are_wrong_usage(run, bundle: Path) -> None:
    assert run("exprt").code == 2
    assert run("generate", bundle, "a", "--sead", "1").code == 2


def test_make_checkpoint_makes_one_that_opens(run, tmp_path: Path) -> None:
    assert run("make-checkpoint", tmp_path / "c", "--seed", 3, "--json").data["seed"] == 3
    dry = run("export", tmp_path / "c", "--out", tmp_path / "b", "--size", "64", "--dry-run")
    assert dry.code == 0


@pytest.fixture
def copy_of_bundle(bundle: Path, tmp_path: Path) -> Path:
    import shutil

    return Path(shutil.copytree(bundle, tmp_path / "copy"))
