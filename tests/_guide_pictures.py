"""The pictures of the guides, from the demonstration site, in both themes. Run on demand after the console has changed:

    PROGRAM=target/debug/muster python3 tests/_guide_pictures.py

It writes static/guides/*.webp. Each picture of a guide must be made here, and nothing else lies in that folder; a test of
the guides looks."""

import base64
import os
import re
import signal
import subprocess
import tempfile
import threading

from _muster import PROGRAM, until
from playwright.sync_api import sync_playwright

WIDTH, HEIGHT, QUALITY = 1200, 750, 80
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../static/guides")


def demo(folder):
    process = subprocess.Popen(
        [os.path.abspath(PROGRAM), "demo", "--agents", "60", "--history", "6h", "--speed", "20"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder,
    )
    lines = []
    threading.Thread(target=lambda: lines.extend(process.stdout), daemon=True).start()

    def link():
        assert process.poll() is None, "the demonstration ended"
        found = re.search(r"https://\S+", "".join(lines))
        return found and found.group(0)

    return process, until(120, "the link of the demonstration", link)


def picture(page, name):
    """One page in both themes, as small as a browser makes it."""
    client = page.context.new_cdp_session(page)
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        page.wait_for_timeout(400)
        taken = client.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
        with open(os.path.join(FOLDER, f"{name}-{theme}.webp"), "wb") as file:
            file.write(base64.b64decode(taken["data"]))
    print(name, flush=True)


def main():
    os.makedirs(FOLDER, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        process, link = demo(folder)
        try:
            browser = playwright.chromium.launch(
                executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=["--no-sandbox", "--disable-gpu"]
            )
            page = browser.new_context(
                ignore_https_errors=True, viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light"
            ).new_page()
            page.goto(link)
            if page.locator("form button.primary").count():
                page.locator("form button.primary").first.click()
            base = re.match(r"https://[^/]+", link).group(0)
            page.goto(f"{base}/")
            page.wait_for_timeout(60_000)
            # The new site takes its first backup by hand.
            page.goto(f"{base}/backups")
            page.get_by_role("button", name="Take a full backup").click()
            page.wait_for_timeout(8_000)
            page.goto(f"{base}/")
            page.wait_for_timeout(3_000)
            picture(page, "overview")
            page.goto(f"{base}/agents?sort=cpu")
            page.locator("tbody a").first.click()
            page.wait_for_timeout(3_000)
            picture(page, "agent")
            # By now the drill has run.
            page.goto(f"{base}/backups")
            page.wait_for_timeout(1_500)
            picture(page, "backups")
            browser.close()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


main()
