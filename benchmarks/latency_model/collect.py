"""The table of measurements from a snapshot of github.com/quic/ai-hub-models: `python -m ...collect REPOSITORY.git`.

Only rows of a whole network on the NPU, through QNN itself (not through onnxruntime or TensorFlow Lite).
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

COMMIT, DATE = "52c080d245d2d20c634459208ff2548ce10b3c9f", "2026-02-12"
ADDRESS = f"https://github.com/quic/ai-hub-models/blob/{COMMIT}/qai_hub_models/models"
CHIPS = {
    "QCS8550 (Proxy)": "SM8550",
    "Samsung Galaxy S24": "SM8650",
    "Samsung Galaxy S25": "SM8750",
    "Snapdragon 8 Elite QRD": "SM8750",
    "Snapdragon 8 Elite Gen 5 QRD": "SM8850",
}
RUNTIMES = ("qnn_dlc", "qnn_context_binary", "genie")
OTHER = ("precompiled_qnn_onnx",)
"""The same networks compiled by an older QNN, for what a compiler makes of it. Not fitted."""
PRECISIONS = {"float": "fp16", "w8a16": "w8a16", "w8a8": "w8a8", "w4a16": "w4a16"}
SAME = {
    "whisper_small_quantized WhisperSmallEncoderQuantizable": "whisper_small HfWhisperEncoder",
    "qwen2_7b_instruct": "qwen2_5_7b_instruct",
}
"""Another folder of the same network."""
ALONE = (
    "resnet50", "resnet101", "wideresnet50", "densenet121", "vit", "convnext_tiny", "convnext_base", "fcn_resnet50",
    "unet_segmentation", "real_esrgan_general_x4v3", "esrgan", "bert_base_uncased_hf", "distil_bert_base_uncased_hf",
    "openai_clip", "llama_v3_2_1b_instruct", "llama_v3_2_3b_instruct", "llama_v3_1_8b_instruct",
    "phi_3_5_mini_instruct", "qwen2_7b_instruct", "qwen2_5_7b_instruct",
)  # fmt: skip
MODELS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(ALONE, ()),
    **dict.fromkeys([f"whisper_{size}" for size in ("tiny", "base", "small", "large_v3_turbo")], ("HfWhisperEncoder",)),
    "whisper_small_quantized": ("WhisperSmallEncoderQuantizable",),
    "stable_diffusion_v1_5": ("text_encoder", "unet", "vae"),
    "stable_diffusion_v2_1": ("text_encoder", "unet"),
    "controlnet_canny": ("controlnet",),
}
"""Model folder -> the components to take, none for a model of one. The VAE of Stable Diffusion 2.1 is that of 1.5."""
MEMORY = [
    {"soc": "SM8550", "memory_mhz": 4200, "source": "https://wccftech.com/qualcomm-snapdragon-8-gen-2-goes-official/"},
    {"soc": "SM8650", "memory_mhz": 4800, "source": "https://fyss.in/processor-specs/mobile-processor-specs/snapdragon-8-gen-3-specs"},
    {"soc": "SM8750", "memory_mhz": 5300, "source": "https://hi-tech.ua/en/qualcomm-snapdragon-8-elite-or-8-gen-4-is-"
     "the-new-top-processor-for-smartphones/"},
    {"soc": "SM8850", "memory_mhz": 5300, "source": "https://www.lowyat.net/2025/366994/qualcomm-snapdragon-8-elite-"
     "gen-5"},
]  # fmt: skip

SERVED = "https://github.com/powerserve-project/PowerServe/blob/0ec6d643249c6f48724f2e2091755f904b637cd4/README.md"
PREFILL = {
    "llama_v3_2_1b prefill": ("llama-3.2-1b", 1876.58, 1952.38),
    "llama_v3_1_8b prefill": ("llama-3.1-8b", 468.35, 509.09),
    "qwen2_0_5b prefill": ("qwen-2-0.5b", 3590.91, 4027.30),
    "qwen2_5_3b prefill": ("qwen-2.5-3b", 906.98, 981.69),
}
"""Tokens a second that PowerServe publishes for the Snapdragons 8 Gen 3 and 8 Elite, whole prompts in calls of 128."""


def rows(repository: Path, runtimes: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every measurement that fits."""
    for model, components in MODELS.items():
        path, url = f"qai_hub_models/models/{model}/perf.yaml", f"{ADDRESS}/{model}/perf.yaml"
        text = subprocess.check_output(["git", "-C", repository, "show", f"{COMMIT}:{path}"], text=True)
        for name, precision in yaml.safe_load(text)["precisions"].items():
            for component, found in precision["components"].items():
                if name in PRECISIONS and (component in components or not components):
                    net = f"{model} {component}" if components else model
                    metrics = found["performance_metrics"]
                    yield from times(SAME.get(net, net), name, component, metrics, url, runtimes)


def times(
    net: str, precision: str, component: str, metrics: dict[str, Any], url: str, runtimes: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """The rows of one component."""
    for device, of_device in metrics.items():
        for runtime, found in of_device.items():
            layers = found.get("layer_counts", {})
            if device not in CHIPS or runtime not in runtimes or layers.get("cpu") or layers.get("gpu"):
                continue
            ms, what = found.get("inference_time_milliseconds"), "inference time"
            if ms is None:
                ms, what = found["llm_metrics"][0]["time_to_first_token_range_milliseconds"]["min"], "first token"
            row = f"precisions.{precision}.components.{component}.performance_metrics.{device}.{runtime}, {what}"
            tool = found.get("tool_versions", {}).get("qairt")
            yield {"net": net, "precision": PRECISIONS[precision], "soc": CHIPS[device], "device": device, "ms": ms,
                   "qairt": tool, "url": url, "row": row, "date": DATE}  # fmt: skip


def served() -> Iterator[dict[str, Any]]:
    """Language models by another runtime: the mean time of a call, with all that the runtime does around it."""
    for net, (name, *speeds) in PREFILL.items():
        for soc, label, speed in zip(("SM8650", "SM8750"), ("8G3", "8G4(8Elite)"), speeds, strict=True):
            yield {"net": net, "precision": "w4a16", "soc": soc, "ms": round(128e3 / speed, 3), "url": SERVED,
                   "row": f"{name}, {label}: {speed} tokens/s", "date": "2025-08-07"}  # fmt: skip


if __name__ == "__main__":
    source = Path(sys.argv[1])
    table = {
        "version": 1,
        "chips": MEMORY,
        "measurements": list(rows(source, RUNTIMES)),
        "served": list(served()),
        "compiled_by_another": [one for one in rows(source, OTHER) if "diffusion" in one["net"]],
    }
    Path(__file__).with_name("measurements.json").write_text(json.dumps(table, indent=1) + "\n")
