"""The console in a real browser, from set-up to signing out, with and without JavaScript."""

import os
import re

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
    paths = [
        "/", "/agents", href, *tabs, "/agents/new", "/agents/new?tab=offline", "/agents/new?tab=device", "/tasks",
        "/tasks#new-card", task, "/events", "/people", "/people/keys", "/account", "/settings", "/audit", "/help/api", "/help/messages", "/help/backups", "/help/network",
    ]
    for width, height in ((1440, 900), (390, 844)):
        for scheme in ("light", "dark"):
            story.step(
                f"no page is wider than {width} pixels, {scheme}",
                lambda: every_page(browser, paths, width, height, scheme),
            )
    story.step("without JavaScript: sign in, run a task, see its output", lambda: without_script(browser, href))
    story.step("no error on any console, no violation of the policy", quiet)
    browser.close()
story.end()
