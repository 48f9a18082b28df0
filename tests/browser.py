"""A page in headless Chromium: what it measures of itself, at several widths, light or dark; and how it looks."""

import json
import shutil
import subprocess
import tempfile
from html import unescape
from pathlib import Path
from typing import Any

WIDE, NARROW = 1280, 390
MEASURE = """<script>addEventListener("load", () => {
  const root = document.documentElement, box = one => one.getBoundingClientRect();
  const inside = one => { const card = one.closest(".scroll, .draw, pre"); return !!card && card.clientWidth > 0; };
  const beyond = [...document.querySelectorAll("body *")].filter(
    one => box(one).right > root.clientWidth + 1 && !inside(one)).map(one => one.outerHTML.slice(0, 80));
  parent.postMessage({
    width: root.clientWidth, scrolls: root.scrollWidth > root.clientWidth, beyond,
    pictures: [...document.images].map(one => [one.complete && one.naturalWidth > 0, box(one).width]),
    charts: [...document.querySelectorAll("details")].map(one => one.open = true) &&
      [...document.querySelectorAll("svg")].map(one => [box(one).width, box(one).height]),
    headings: [...document.querySelectorAll("h2")].map(one => one.textContent),
    dark: matchMedia("(prefers-color-scheme: dark)").matches,
    page: getComputedStyle(document.body).backgroundColor, ink: getComputedStyle(document.body).color,
    fetched: performance.getEntriesByType("resource").map(one => one.name).filter(name => !name.startsWith("data:")),
    alerted: window.alerted === true}, "*");
});</script>"""
WATCH = "<script>window.alert = () => { window.alerted = true; };</script>"
FRAMES = """<!doctype html><pre id="found"></pre><script>
const found = [];
addEventListener("message", event => {
  found.push(event.data); document.getElementById("found").textContent = JSON.stringify(found); });
</script>"""


def chromium(*arguments: str) -> str:
    """Run it once; what it prints."""
    program = shutil.which("chromium")
    assert program is not None, "chromium is missing: run .ci/setup-tests"
    with tempfile.TemporaryDirectory(prefix="dreamlite-chromium-") as profile:
        command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        command += [f"--user-data-dir={profile}", "--virtual-time-budget=5000", "--hide-scrollbars", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout


def scheme(dark: bool) -> str:
    return f"--blink-settings=preferredColorScheme={0 if dark else 1}"


def measured(page: str, folder: Path, dark: bool = False) -> dict[int, dict[str, Any]]:
    """What a page says of itself, in a wide frame and in one as narrow as a phone."""
    assert page.count("<head>") == page.count("</body>") == 1
    told = page.replace("<head>", f"<head>{WATCH}").replace("</body>", f"{MEASURE}</body>")
    (folder / "page.html").write_text(told, encoding="utf-8")
    frames = "".join(f'<iframe src="page.html" width="{width}" height="900"></iframe>' for width in (WIDE, NARROW))
    (folder / "frames.html").write_text(FRAMES + frames, encoding="utf-8")
    dom = chromium(scheme(dark), "--window-size=1800,1000", "--dump-dom", (folder / "frames.html").as_uri())
    text = unescape(dom.partition('<pre id="found">')[2].partition("</pre>")[0])
    return {one["width"]: one for one in json.loads(text)}


def screenshot(page: Path, out: Path, width: int = WIDE, height: int = 1000, dark: bool = False) -> Path:
    """The page as a picture."""
    chromium(scheme(dark), f"--window-size={width},{height}", f"--screenshot={out}", page.as_uri())
    return out
