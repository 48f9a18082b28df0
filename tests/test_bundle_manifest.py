"""Manifests that are well-formed JSON but say something inconsistent, unsafe or not plain. Oracle: the message."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_bundle import change_manifest, manifest_data, sign, write_bundle

from dreamlite_mobile.bundle import open_bundle
from dreamlite_mobile.errors import BundleError

Data = dict[str, Any]


def set_shape(data: Data) -> None:
    data["components"]["unet"]["methods"]["edit"]["inputs"][0]["shape"] = [1, 4, 16, 16]


def drop_file(data: Data) -> None:
    del data["files"]["unet.pte"]


def other_size(data: Data) -> None:
    data["sizes"][0]["width"] = 128


def add_key(data: Data) -> None:
    data["vae"]["bits"] = 8


def drop_default_sigmas(data: Data) -> None:
    del data["sizes"][0]["sigmas"]["4"]


def short_sigmas(data: Data) -> None:
    data["sizes"][0]["sigmas"]["4"] = [1.0, 0.5, 0.0]


def rising_sigmas(data: Data) -> None:
    data["sizes"][0]["sigmas"]["4"] = [1.0, 0.5, 0.6, 0.1, 0.0]


def drop_edit_method(data: Data) -> None:
    del data["components"]["unet"]["methods"]["edit"]


def unknown_component(data: Data) -> None:
    data["components"]["refiner"] = data["components"]["vae_decoder"]


def drop_table(data: Data) -> None:
    data["embeddings"] = None


def wide_table(data: Data) -> None:
    data["embeddings"]["columns"] = 32


def other_dtype(data: Data) -> None:
    data["embeddings"]["dtype"] = "float32"


def unlisted_program(data: Data) -> None:
    data["components"]["unet"]["methods"]["edit"]["file"] = "vae_decoder.pte"


def disagreeing_scale(data: Data) -> None:
    data["vae"]["scale"] = 16


def partial_config(data: Data) -> None:
    del data["checkpoint"]["config"]["unet"]["ff_mult"]


def no_levels(data: Data) -> None:
    data["checkpoint"]["config"]["unet"]["block_out_channels"] = []


def text_for_number(data: Data) -> None:
    data["prompt"]["state_width"] = "16"


def case_twin(data: Data) -> None:
    data["files"]["UNET.pte"] = data["files"]["unet.pte"]
    data["documents"] = ["UNET.pte"]


def file_and_folder(data: Data) -> None:
    data["files"]["unet.pte/x"] = data["files"]["unet.pte"]
    data["documents"] = ["unet.pte/x"]


def two_slots(data: Data) -> None:
    data["prompt"]["modes"]["edit"]["template"] = "{} {}"


CHANGES: list[tuple[Callable[[Data], None], str]] = [
    (set_shape, r"unet.edit inputs are latents \[1, 4, 16, 16\]"),
    (drop_file, "'unet.pte' is used but not listed"),
    (other_size, r"need latents \[1, 4, 8, 16\]"),
    (add_key, "vae.bits: Extra inputs are not permitted"),
    (drop_default_sigmas, "sigmas of 96x64 lack the default of 4 steps"),
    (short_sigmas, "sigmas of 96x64, 4 steps, hold 3 values, expected 5"),
    (rising_sigmas, "sigmas must fall strictly"),
    (drop_edit_method, r"unet has methods \['generate'\], expected for 96x64: \['edit', 'generate'\]"),
    (unknown_component, "component 'refiner' is not one of text_encoder"),
    (drop_table, "text_encoder needs the embeddings table"),
    (wide_table, "embeddings are 1024 x 32, expected 1024 x 16"),
    (other_dtype, "holds 32768 bytes, its rows and columns need 65536"),
    (unlisted_program, "which unet.files does not list"),
    (disagreeing_scale, "vae.scale is 16, the checkpoint's configuration gives 8"),
    (partial_config, "ff_mult"),
    (no_levels, "checkpoint.config describes no network"),
    (text_for_number, r"prompt.state_width: Input should be a valid integer \(found '16'\)"),
    (case_twin, "are one file where case is ignored"),
    (file_and_folder, "listed both as a file and as a folder"),
    (two_slots, "template must hold exactly one"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_an_inconsistent_manifest_is_refused(tmp_path: Path, change: Callable[[Data], None], message: str) -> None:
    folder = write_bundle(tmp_path / "bundle")
    data = manifest_data(folder)
    change(data)
    change_manifest(folder, data)
    with pytest.raises(BundleError, match=message):
        open_bundle(folder)


def same_size_twice(data: Data) -> None:
    data["sizes"][1] |= {"width": 96, "height": 64}


def another_default(data: Data) -> None:
    data["sizes"].reverse()


def size_without_methods(data: Data) -> None:
    data["sizes"].append(data["sizes"][0] | {"width": 32, "height": 32})


def methods_without_size(data: Data) -> None:
    del data["sizes"][1]
    del data["files"]["tables/steps_64x96.bin"]


def first_size_s_shapes(data: Data) -> None:
    methods = data["components"]["vae_decoder"]["methods"]
    methods["forward_64x96"] = methods["forward"]


def one_table_for_both(data: Data) -> None:
    data["sizes"][1]["step_embeddings"]["file"] = data["sizes"][0]["step_embeddings"]["file"]


def no_second_table(data: Data) -> None:
    data["sizes"][1]["step_embeddings"] = None


def uneven_size(data: Data) -> None:
    data["sizes"][1]["width"] = 65


def towers_of_each_size(data: Data) -> None:
    methods = data["components"]["text_encoder"]["methods"]
    methods["generate_64x96"] = methods["generate"]


def too_many(data: Data) -> None:
    data["sizes"] = data["sizes"][:1] * 17


SIZES: list[tuple[Callable[[Data], None], str]] = [
    (same_size_twice, "size 96x64 is there twice"),
    (another_default, r"unet has methods .*'generate_64x96'\], expected for 64x96, 96x64: .*'generate_96x64'"),
    (size_without_methods, r"vae_encoder has methods .*, expected for 96x64, 64x96, 32x32: .*'forward_32x32'"),
    (methods_without_size, r"vae_decoder has methods .*, expected for 96x64: \['forward'\]"),
    (first_size_s_shapes, r"vae_decoder.forward_64x96 inputs are latents \[1, 4, 8, 12\]; .* latents \[1, 4, 12, 8\]"),
    (one_table_for_both, "two sizes name one step_embeddings file"),
    (no_second_table, "unet needs the step_embeddings table of size 64x96"),
    (uneven_size, "size 65x96 is not a multiple of vae.scale 8"),
    (towers_of_each_size, r"text_encoder has methods .*'generate_64x96'\], expected"),
    (too_many, "sizes: Tuple should have at most 16 items"),
]


@pytest.mark.parametrize(("change", "message"), SIZES, ids=[change.__name__ for change, _ in SIZES])
def test_sizes_that_do_not_fit_their_methods_are_refused(
    tmp_path: Path, change: Callable[[Data], None], message: str
) -> None:
    folder = write_bundle(tmp_path / "bundle", further=((64, 96),))
    assert open_bundle(folder).sizes == ((96, 64), (64, 96))
    data = manifest_data(folder)
    change(data)
    change_manifest(folder, data)
    with pytest.raises(BundleError, match=message):
        open_bundle(folder)


@pytest.mark.parametrize(
    "path",
    ["../unet.pte", "/etc/passwd", "a/../../b", "./unet.pte", "a//b", "a\\b", "C:/x", "a/", "", ".hidden", "a/.b", "é",
     "con\n", "a\0b", "-rf", "manifest.json", "MANIFEST.SHA256", "a." , "x" * 300],
)  # fmt: skip
def test_a_path_that_leaves_the_folder_is_refused(tmp_path: Path, path: str) -> None:
    folder = write_bundle(tmp_path / "bundle")
    data = manifest_data(folder)
    data["files"][path] = data["files"].pop("unet.pte")
    data["components"]["unet"]["files"] = [path]
    for method in data["components"]["unet"]["methods"].values():
        method["file"] = path
    change_manifest(folder, data)
    with pytest.raises(BundleError, match="manifest.json"):
        open_bundle(folder)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"schema_version": 1, "schema_version": 1}', '{"schema_version": NaN}', "[" * 100_000,
     '{"schema_version": 1e999}', '{"schema_version": ' + "9" * 5000 + "}", "\ufeff{}", '{"\ud800": 1}', '{"a": 1}\0'],
)  # fmt: skip
def test_json_that_is_not_plain_is_refused(tmp_path: Path, text: str) -> None:
    folder = write_bundle(tmp_path / "bundle")
    (folder / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    sign(folder)
    with pytest.raises(BundleError, match="manifest.json"):
        open_bundle(folder)


def test_a_repeated_key_is_refused_even_when_both_say_the_same(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"backend":', '"backend": "xnnpack", "backend":', 1))
    sign(folder)
    with pytest.raises(BundleError, match="repeated keys 'backend'"):
        open_bundle(folder)


def test_an_enormous_manifest_is_not_read(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    with (folder / "manifest.json").open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(BundleError, match="expected at most"):
        open_bundle(folder)
