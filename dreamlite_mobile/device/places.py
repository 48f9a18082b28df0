"""Where everything lies on the phone. Apps may read `/data/local/tmp`; the app's own folder is where it may write."""

ROOT = "/data/local/tmp/dreamlite"
APP = "dreamlite.app"
ACTIVITY = "dreamlite.app/dreamlite.app.BenchActivity"
BUNDLES = f"{ROOT}/bundles"
REQUESTS = f"{ROOT}/requests"
RUNNERS = f"{ROOT}/runners"
KINDS = (BUNDLES, REQUESTS, RUNNERS)
"""Every folder that is pushed to lies directly in one of these."""


def bundle_folder(sha256: str) -> str:
    """Of a bundle by the digest of its manifest: another version is another folder."""
    return f"{BUNDLES}/{sha256[:16]}"


def output_folder(app: str, run: str) -> str:
    """Where the app writes what one request gave."""
    return f"/sdcard/Android/data/{app}/files/bench/{run}"
