"""The page of `terrascope serve` in a browser: what it loads, and the time until its first mask is on the screen.

    python benchmarks/page.py --model nano

Starts the server in a process of its own and a browser that it finds on this machine (Chromium or Chrome). Each repeat
is a new visit with an empty cache that asks the sample scene one question. The clock is the browser's own and begins
where Ask is pressed; *first mask* ends when the frame that shows it was drawn, *server alone* is the same question by
HTTP without a page.
"""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
import uuid
from importlib import resources
from importlib.metadata import version

from alone import cpu_name
from playwright.sync_api import Browser, sync_playwright

QUESTION = "What percentage of the scene is covered by water?"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

_WATCH = """() => {
  window.seen = {};
  const note = (name) => requestAnimationFrame(() => setTimeout(() => (seen[name] ??= performance.now() - began)));
  new MutationObserver(() => {
    if (!document.querySelector('#pictures').hidden) note('scene');
    if (document.querySelector('.step')) note('mask');
    if (/^Answered/.test(document.querySelector('#state').textContent)) note('answer');
  }).observe(document.body, { subtree: true, childList: true, characterData: true, attributes: true });
  document.querySelector('#ask').addEventListener('click', () => (window.began = performance.now()), { capture: true });
}"""


def start_server(model: str) -> tuple[subprocess.Popen[str], str]:
    """A server on a free port, and its address; it answers once it says where it listens."""
    command = [sys.executable, "-m", "terrascope", "serve", "--model", model, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"http://\S+", line):
            return process, found[0]
    raise SystemExit("the server did not start; run `terrascope serve` by hand to see why")


def ask_alone(address: str) -> dict[str, float]:
    """Milliseconds until the first mask and until the answer, read from the stream by this program."""
    boundary = uuid.uuid4().hex
    texts = {"question": QUESTION, "sample": "demo", "stream": "true", "pictures": "true"}
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"\r\n\r\n{t}\r\n' for n, t in texts.items()]
    body = ("".join(parts) + f"--{boundary}--\r\n").encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    seen: dict[str, float] = {}
    began = time.perf_counter()
    with urllib.request.urlopen(urllib.request.Request(f"{address}/v1/ask", body, kind)) as reply:
        for line in reply:
            if line.startswith(b"event: "):
                seen.setdefault(line[7:].strip().decode(), 1000 * (time.perf_counter() - began))
    return seen


def visit(browser: Browser, address: str) -> tuple[dict[str, float], dict[str, tuple[int, int]]]:
    """Milliseconds to each event of one visit; files and bytes that the page loaded, by kind."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    loaded: dict[str, list[int]] = {}

    def note(response: object) -> None:
        body = response.body()  # type: ignore[attr-defined]
        loaded.setdefault(response.request.resource_type, []).append(len(body))  # type: ignore[attr-defined]

    page.on("response", note)
    began = time.perf_counter()
    page.goto(address)
    page.locator("#model:not(:empty)").wait_for()
    seen = {"page": 1000 * (time.perf_counter() - began)}
    page.remove_listener("response", note)
    page.evaluate(_WATCH)
    page.click("#sample")
    page.fill("#question", QUESTION)
    page.click("#ask")
    page.locator("#state", has_text="Answered").wait_for()
    page.wait_for_timeout(200)
    seen |= page.evaluate("seen")
    context.close()
    return seen, {kind: (len(sizes), sum(sizes)) for kind, sizes in loaded.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nano", help="nano, a folder, or a repository of the hub")
    parser.add_argument("--repeats", type=int, default=10)
    settings = parser.parse_args()
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise SystemExit(f"no browser was found; install one of {', '.join(BROWSERS)}")
    process, address = start_server(settings.model)
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
            title = f"{browser.browser_type.name} {browser.version}"
            ask_alone(address)  # the first question finds a model that was never run
            alone = [ask_alone(address) for _ in range(settings.repeats)]
            visits = [visit(browser, address) for _ in range(settings.repeats)]
            browser.close()
    finally:
        process.terminate()
        process.wait()
    print(f"{cpu_name()}; {platform.system()}; Python {platform.python_version()}; {title}")
    print(f"terrascope {version('terrascope-eo')}, model {settings.model}, sample scene, {settings.repeats} visits\n")
    print("| ms | median | slowest |\n|---|---|---|")
    rows = {"page can be used": "page", "Ask to scene": "scene", "Ask to first mask": "mask", "Ask to answer": "answer"}
    for name, event in rows.items():
        values = [seen[event] for seen, _ in visits]
        print(f"| {name} | {statistics.median(values):.0f} | {max(values):.0f} |")
    for name, event in (("server alone: first mask", "mask"), ("server alone: answer", "answer")):
        values = [seen[event] for seen in alone]
        print(f"| {name} | {statistics.median(values):.0f} | {max(values):.0f} |")
    print("\n| loaded | files | kB |\n|---|---|---|")
    loaded = visits[0][1]
    for kind, (files, size) in loaded.items():
        print(f"| {kind} | {files} | {size / 1000:.1f} |")
    print(f"| all | {sum(n for n, _ in loaded.values())} | {sum(s for _, s in loaded.values()) / 1000:.1f} |")
    folder = resources.files("terrascope.serve") / "page"
    names = sorted(entry.name for entry in folder.iterdir() if entry.is_file())
    print(f"\nIn the package: {len(names)} files, {sum(len((folder / n).read_bytes()) for n in names) / 1000:.1f} kB.")


if __name__ == "__main__":
    main()
