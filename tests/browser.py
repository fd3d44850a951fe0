"""The console in a real browser, from set-up to signing out, with and without JavaScript."""

import json
import os
import re
import zipfile

from _muster import PASSWORD, Muster, Story, until
from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]
# A violation of the Content-Security-Policy is an event of the page; a listener of the page's own may miss the first.
WATCH = "document.addEventListener('securitypolicyviolation', e => console.error('CSP: ' + e.violatedDirective + ' ' + e.blockedURI))"
SECONDS = 15_000

# It tells its first word at once and its second when somebody has had the time to look.
COMMANDS = """
[agent.commands.uptime]
run = ["/usr/bin/uptime"]
[agent.commands.slow]
run = ["/bin/sh", "-c", "echo first; sleep 3; echo second"]
"""

story, muster = Story(), Muster(config=COMMANDS)
base, mistakes = muster.base, []


def watch(page):
    """Whatever the page complains of is kept."""
    page.set_default_timeout(SECONDS)
    page.add_init_script(WATCH)

    def said(message):
        if message.type == "error":
            mistakes.append(f"{page.url}: {message.text}")

    page.on("console", said)
    page.on("pageerror", lambda error: mistakes.append(f"{page.url}: {error}"))
    return page


def context(browser, **options):
    return browser.new_context(ignore_https_errors=True, **options)


def set_up(page):
    page.goto(base)
    assert page.url == f"{base}/setup", page.url
    page.fill("[name=code]", muster.code)
    page.fill("[name=name]", "Inès Moreau")
    page.fill("[name=login]", "ines")
    for field in page.locator("input[type=password]").all():
        field.fill(PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(f"{base}/")
    page.locator("#tiles").wait_for()


def agent_page(page):
    """This host enrols itself; its page has charts."""
    def there():
        page.goto(f"{base}/agents")
        link = page.locator("#agent-rows a[href^='/agents/agt_']").first
        return link.get_attribute("href") if link.count() else None

    href = until(30, "this host's agent", there)
    page.click(f"a[href='{href}']")
    page.wait_for_url(base + href)
    return href


def cpu_moves(page, href):
    page.goto(base + href)
    card = page.locator("#agent-body .chart").filter(has=page.locator("h2", has_text=re.compile("^CPU$")))
    card.locator("svg.p").wait_for()
    before = card.locator("svg.p").inner_html()
    until(15, "another drawing of the CPU", lambda: card.locator("svg.p").inner_html() != before)
    assert "stale" not in page.locator("#live-badge").get_attribute("class")


def run_task(page, href, command, expected, live=True):
    page.goto(f"{base}{href}?tab=tasks")
    page.fill("main [name=command]", command)
    page.click("main form[action='/tasks'] button[type=submit]")
    page.wait_for_url(re.compile("/tasks/tsk_"))
    output = page.locator("#output")
    if live:
        output.wait_for()
    else:
        until(20, "the output", lambda: page.reload() and output.count())
    assert expected in output.inner_text(), output.inner_text()
    if live:
        page.locator("#task .badge", has_text="succeeded").wait_for()


def live_output(page, href):
    run_task(page, href, "slow", "first", live=True)
    assert "second" in page.locator("#output").inner_text(), "ended without its second word"


def palette(page, href):
    page.goto(base)
    name = page.evaluate("async href => (new DOMParser().parseFromString(await (await fetch(href)).text(), 'text/html')).querySelector('.bar h1').textContent", href)
    page.keyboard.press("Control+k")
    page.locator("#palette[open]").wait_for()
    page.keyboard.type(name[:6])
    page.locator(f"#palette-results a[href='{href}']").wait_for()
    page.keyboard.press("Enter")
    page.wait_for_url(base + href)


def theme(page):
    page.goto(base)
    shade = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(shade)
    page.locator(".nav [data-theme-switch]").click()
    until(5, "another colour", lambda: page.evaluate(shade) != light)
    dark = page.evaluate(shade)
    page.reload()
    assert page.evaluate(shade) == dark, "the choice is not kept"


def out_and_in(page, context):
    page.goto(base)
    page.click(".nav form[action='/logout'] button")
    page.wait_for_url(re.compile("/login"))
    page.goto(f"{base}/people")
    assert "/login" in page.url, page.url
    page.fill("[name=login]", "ines")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(f"{base}/people")
    context.storage_state(path=os.path.join(muster.folder, "state.json"))


def every_page(browser, paths, width, height, scheme):
    """Nothing is wider than the window."""
    state = os.path.join(muster.folder, "state.json")
    # The look follows the system unless a cookie says otherwise.
    with context(browser, storage_state=state, viewport={"width": width, "height": height}, color_scheme=scheme) as inside:
        inside.clear_cookies(name="__Host-theme")
        page = watch(inside.new_page())
        for path in paths:
            page.goto(base + path)
            assert page.url.startswith(base + path.split("#")[0]), f"{path} leads to {page.url}"
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{path} is {wide} pixels wide"
    with context(browser, viewport={"width": width, "height": height}, color_scheme=scheme) as outside:
        page = watch(outside.new_page())
        page.goto(f"{base}/login")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, "/login"


AXE = os.environ.get("AXE", os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "target", "axe", "node_modules", "axe-core", "axe.min.js"))
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def accessible(browser, paths):
    """axe finds nothing serious: a theme with each width, so that both are looked at."""
    with open(AXE, encoding="utf-8") as file:
        axe = file.read()
    state = os.path.join(muster.folder, "state.json")
    found = []
    for width, height, scheme in ((1440, 900, "light"), (390, 844, "dark")):
        view = {"width": width, "height": height}
        with context(browser, storage_state=state, viewport=view, color_scheme=scheme) as inside, context(
            browser, viewport=view, color_scheme=scheme
        ) as outside:
            inside.clear_cookies(name="__Host-theme")
            page = watch(inside.new_page())
            pages = [(page, path) for path in paths] + [(watch(outside.new_page()), "/login")]
            for page, path in pages:
                page.goto(base + path)
                page.evaluate(axe)
                told = page.evaluate("rules => axe.run(document, { runOnly: { type: 'tag', values: rules } })", RULES)
                for one in told["violations"]:
                    if one["impact"] in ("serious", "critical"):
                        found.append(f"{path} {scheme} {width}: {one['id']}: {one['nodes'][0]['html'][:160]}")
    assert not found, "\n".join(found)


def without_script(browser, href):
    with context(browser, java_script_enabled=False) as plain:
        page = plain.new_page()
        page.set_default_timeout(SECONDS)
        page.goto(base + href)
        page.fill("[name=login]", "ines")
        page.fill("[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(base + href)
        run_task(page, href, "uptime", "load average", live=False)


# BLAKE3 of so many bytes that count from 0 to 250 again and again: the vectors of its authors.
HASHES = [
    (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
    (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
    (64, "4eed7141ea4a5cd4b788606bd23f46e212af9cacebacdc7d1f4c6dc7f2511b98"),
    (65, "de1e5fa0be70df6d2be8fffd0e99ceaa8eb6e8c93a63f2d8d1c30ecb6b263dee"),
    (1023, "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11"),
    (1024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
    (1025, "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444"),
    (2049, "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030"),
    (5121, "628bd2cb2004694adaab7bbd778a25df25c47b9d4155a55f8fbd79f2fe154cff"),
    (102400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"),
]


def evidence(page):
    """The pack that the audit page gives away, after a checkpoint."""
    page.goto(f"{base}/audit")
    page.click("form[action='/audit/checkpoint'] button")
    # The job that signs every minute may just have been there.
    page.locator("#toasts .toast").wait_for()
    with page.expect_download() as download:
        page.click("button[value=pack]")
    pack = os.path.join(muster.folder, "pack.zip")
    download.value.save_as(pack)
    with zipfile.ZipFile(pack) as opened:
        assert opened.testzip() is None
        opened.extract("verify.html", muster.folder)
        return {name: opened.read(name) for name in opened.namelist()}


def verified(browser, files, expected, key="", state="bad", name="changed.zip", before=None):
    """What the page of the pack, from a file, says of these files."""
    pack = os.path.join(muster.folder, name)
    with zipfile.ZipFile(pack, "w", zipfile.ZIP_STORED) as packed:
        for each, content in files.items():
            packed.writestr(each, content)
    if name.endswith(".jsonl"):
        with open(pack, "wb") as log:
            log.write(files["log.jsonl"])
    with browser.new_context() as stick:
        page = stick.new_page()
        page.set_default_timeout(SECONDS)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda said: said.type == "error" and mistakes.append(f"verify.html: {said.text}"))
        if before:
            page.add_init_script(before)
        page.goto(f"file://{muster.folder}/verify.html")
        page.fill("#key", key)
        page.set_input_files("#file", pack)
        page.locator(f"#verdict[data-state={state}]", has_text=re.compile(r"^(?!Checking)")).wait_for()
        said = page.inner_text("#verdict")
        assert expected in said, said
        assert all(url.startswith(("file:", "blob:")) for url in asked), asked
        return page.inner_text("#shown") if state == "good" else ""


def hashes(browser):
    with browser.new_context() as stick:
        page = stick.new_page()
        page.goto(f"file://{muster.folder}/verify.html")
        for length, expected in HASHES:
            found = page.evaluate("length => hex(blake3(Uint8Array.from({ length }, (_, n) => n % 251)))", length)
            assert found == expected, f"{length}: {found}"


def forged(files):
    """The same pack in which somebody changed, removed, put in and signed things; with what each must be told by."""
    log = files["log.jsonl"].decode().splitlines(keepends=True)
    rows = [json.loads(line) for line in log]
    entry = next(n for n, row in enumerate(rows) if row["line"] == "entry" and row["number"] == 2)
    signed = next(n for n, row in enumerate(rows) if row["line"] == "checkpoint")
    number = rows[signed]["number"]

    def with_log(lines, **others):
        return {**files, "log.jsonl": "".join(lines).encode(), **others}

    changed = log[:entry] + [log[entry].replace('"event":"', '"event":"x', 1)] + log[entry + 1:]
    removed = log[:entry] + log[entry + 1:]
    twice = log[:entry + 1] + log[entry:]
    signature = rows[signed]["signature"]
    false = ("0" if signature[0] != "0" else "1") + signature[1:]
    resigned = log[:signed] + [log[signed].replace(signature, false)] + log[signed + 1:]
    manifest = files["manifest.json"].replace(b'"by": "', b'"by": "x', 1)
    return [
        ("entry 2: its chain is not", with_log(changed)),
        ("entry 2: it is missing; the next one has number 3", with_log(removed)),
        ("entry 3: in its place is one with number 2", with_log(twice)),
        (f"entry {number}: the signature of its checkpoint is not valid", with_log(resigned)),
        ("it is not whole", with_log(log[:-1])),
        ("the signature of manifest.json is not valid", {**files, "manifest.json": manifest}),
        ("summary.txt is not what the manifest says", {**files, "summary.txt": b"all is well"}),
        ("the pack has no signed manifest", {n: c for n, c in files.items() if n != "manifest.sig"}),
    ]


def evidence_holds(browser, files):
    key = files["public-key.txt"].decode().strip()
    shown = verified(browser, files, "Whole and signed", key=key, state="good")
    assert shown.split()[-1].isdigit(), shown
    verified(browser, files, "own key was believed", state="good")
    verified(browser, files, "own key was believed", state="good", name="log.jsonl")
    verified(browser, files, "not the one that was given", key="0" * 64)
    for expected, pack in forged(files):
        verified(browser, pack, expected, key=key)
    # A browser that cannot check signatures says so, and never that all is well.
    without = "Object.defineProperty(globalThis.crypto, 'subtle', { value: undefined })"
    verified(browser, files, "Not decided", state="open", before=without)


def quiet():
    assert not mistakes, "; ".join(mistakes[:5])


with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=FLAGS)
    inside = context(browser, viewport={"width": 1440, "height": 900}, color_scheme="light")
    page = watch(inside.new_page())
    story.step("set-up with the printed code", lambda: set_up(page))
    href = story.step("this host is an agent and has a page", lambda: agent_page(page))
    if not href:
        story.end()
    story.step("the chart of its CPU moves by itself", lambda: cpu_moves(page, href))
    story.step("an allowed command runs, its output appears by itself", lambda: live_output(page, href))
    task = page.url[len(base):]
    story.step("Ctrl K finds the agent", lambda: palette(page, href))
    story.step("the theme changes and stays", lambda: theme(page))
    story.step("out and in again, back to the page that was asked for", lambda: out_and_in(page, inside))
    tabs = [f"{href}?tab={tab}" for tab in ("metrics", "logs", "events", "tasks", "inventory", "access")]
    here = os.path.dirname(os.path.abspath(__file__))
    guides = sorted(f"/help/{name[:-3]}" for name in os.listdir(os.path.join(here, "../templates/guides")))
    paths = [
        "/", "/agents", href, *tabs, "/agents/new", "/agents/new?tab=offline", "/agents/new?tab=device", "/tasks",
        "/tasks#new-card", task, "/events", "/people", "/people/keys", "/people/roles", "/account", "/account/roles",
        "/help", "/help?q=recovery+key", *guides, "/settings", "/audit", "/audit?event=identity.*&weight=notable", "/audit/1", "/audit/retention", "/secrets",
        "/people/rules", "/people/sign-on", "/people/import", "/account/factors", "/backups", "/storage", "/clients",
        "/security", "/security?state=bad", "/security/egress", "/approvals", "/approvals/marks",
    ]
    for width, height in ((1440, 900), (390, 844)):
        for scheme in ("light", "dark"):
            story.step(
                f"no page is wider than {width} pixels, {scheme}",
                lambda: every_page(browser, paths, width, height, scheme),
            )
    story.step("no page has a serious finding of accessibility, in both themes and widths", lambda: accessible(browser, paths))
    story.step("without JavaScript: sign in, run a task, see its output", lambda: without_script(browser, href))
    files = story.step("a pack of evidence is taken out", lambda: evidence(page))
    if files:
        story.step("its page hashes as BLAKE3 does", lambda: hashes(browser))
        story.step("its page, from a file, believes the pack and no forgery of it", lambda: evidence_holds(browser, files))
    story.step("no error on any console, no violation of the policy", quiet)
    browser.close()
story.end()
