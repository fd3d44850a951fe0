"""Second factors in a real browser: an app's codes without JavaScript, passkeys with an authenticator of the browser's own."""

import base64
import hashlib
import os
import re
import ssl
import subprocess

from _muster import PASSWORD, Muster, Story, code
from playwright.sync_api import sync_playwright

SECONDS = 15_000
WATCH = "document.addEventListener('securitypolicyviolation', e => console.error('CSP: ' + e.violatedDirective + ' ' + e.blockedURI))"

story, muster = Story(), Muster()
# A passkey is bound to a name; the address will not do.
base, by_address = f"https://localhost:{muster.http}", muster.base
mistakes = []


def pin():
    """The SHA-256 of the server's public key. Browsers make no passkeys where the certificate is in doubt, and this one
    is of the site's own authority; a browser that knows the key has no doubt."""
    pem = ssl.get_server_certificate(("127.0.0.1", muster.http))
    run = lambda *line, text: subprocess.run(line, input=text, capture_output=True, check=True).stdout
    key = run("openssl", "x509", "-pubkey", "-noout", text=pem.encode())
    der = run("openssl", "pkey", "-pubin", "-outform", "der", text=key)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


def open_page(context):
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    page.add_init_script(WATCH)
    # A refused form is an answer with a status, which browsers list among the errors too.
    page.on("console", lambda message: message.type == "error" and "Failed to load resource" not in message.text and mistakes.append(message.text))
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    return page


def authenticator(page, **options):
    """An authenticator that lives in the browser, as a built-in one does."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    made = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": {
        "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
        "isUserVerified": True, "automaticPresenceSimulation": True, **options,
    }})
    return devtools, made["authenticatorId"]


def set_up(page):
    page.goto(base)
    page.fill("[name=code]", muster.code)
    page.fill("[name=name]", "Inès Moreau")
    page.fill("[name=login]", "ines")
    for field in page.locator("input[type=password]").all():
        field.fill(PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(f"{base}/")


def add_passkey(page, name):
    page.goto(f"{base}/account/factors")
    form = page.locator("form[data-passkey=create]")
    form.locator("[name=name]").fill(name)
    form.locator("button").click()
    page.locator("td", has_text=name).wait_for()


def sign_out(page):
    page.goto(base)
    page.click(".nav form[action='/logout'] button")
    page.wait_for_url(re.compile("/login"))


def rename_passkey(page):
    page.goto(f"{base}/account/factors")
    page.locator("summary", has_text="Rename").click()
    page.get_by_label("New name of This laptop").fill("Desk by the door")
    page.locator("form[action$='/rename'] button").click()
    page.locator("td", has_text="Desk by the door").wait_for()
    assert page.locator("td", has_text="This laptop").count() == 0


def passkey_alone(page):
    sign_out(page)
    page.goto(f"{base}/people")
    page.locator("form[data-passkey=get] button").click()
    page.wait_for_url(f"{base}/people")
    page.goto(f"{base}/account")
    row = page.locator("#sessions").locator("xpath=ancestor::section").locator("tr", has_text="This one")
    assert "passkey" in row.inner_text() and "Chrome" in row.inner_text(), row.inner_text()


def passkey_second(page):
    page.goto(f"{base}/login")
    page.fill("[name=login]", "ines")
    page.fill("[name=password]", PASSWORD)
    page.click("form[action='/login'] button[type=submit]")
    page.locator("h1", has_text="Second step").wait_for()
    page.locator("form[data-passkey=get] button").click()
    page.wait_for_url(f"{base}/")


def unverified_alone(page, devtools, identifier):
    """An authenticator that asks nobody does not stand alone."""
    sign_out(page)
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": identifier, "isUserVerified": False})
    page.locator("form[data-passkey=get] button").click()
    words = page.locator("[data-passkey-error]:not([hidden]), [role=alert] .error")
    words.first.wait_for()
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": identifier, "isUserVerified": True})
    passkey_second(page)


def same_twice(page):
    """The browser itself refuses to make a second one on the same authenticator."""
    page.goto(f"{base}/account/factors")
    page.locator("form[data-passkey=create] button").click()
    page.locator("[data-passkey-error]", has_text="has a passkey for you already").wait_for()


def codes(page):
    page.goto(f"{base}/account/factors")
    page.click("form[action='/account/factors/codes'] button")
    made = page.locator("#new-codes").locator("xpath=ancestor::section").locator("li")
    made.first.wait_for()
    assert made.count() == 10
    return made.first.inner_text()


def under_an_address(browser):
    """The login page keeps quiet about passkeys, the account says why in words."""
    with browser.new_context(ignore_https_errors=True) as context:
        page = open_page(context)
        page.goto(f"{by_address}/login")
        assert page.locator("form[data-passkey]").count() == 0
        page.fill("[name=login]", "ines")
        page.fill("[name=password]", PASSWORD)
        page.click("form[action='/login'] button[type=submit]")
        page.get_by_text("only where the console is opened by a host name").wait_for()


def app_without_script(browser, recovery):
    """An app is added and used, and a recovery code helps, all by plain forms."""
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.goto(f"{base}/login")
        page.fill("[name=login]", "ines")
        page.fill("[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.locator("summary").click()
        page.fill("[name=recovery]", recovery.lower())
        page.click("form:has([name=recovery]) button")
        page.locator("#toasts .toast[data-fade]").wait_for()
        page.goto(f"{base}/account/factors")
        key = page.locator("#key").inner_text()
        page.fill("[name=code]", code(key, -1))
        page.click("form:has([name=sealed]) button")
        page.locator("form[action='/account/factors/totp/remove']").wait_for()
        page.click(".nav form[action='/logout'] button")
        page.fill("[name=login]", "ines")
        page.fill("[name=password]", PASSWORD)
        page.click("form[action='/login'] button")
        shown = code(key)
        page.fill("[name=code]", shown)
        page.click("form:has([name=code]) button")
        page.wait_for_url(re.compile(f"^{re.escape(base)}/(\\?|$)"))


def rule(page):
    """Operators need a second factor from now on."""
    page.goto(f"{base}/people/rules")
    page.check("[name=role][value=operator]")
    page.click("form[action='/people/rules'] button")
    page.locator("#toasts .toast[data-fade]").wait_for()


def invited(page, browser):
    """Somebody comes by their link, and adds a passkey before anything is open to them."""
    page.goto(f"{base}/people")
    form = page.locator("form[action='/people']:has([name=login])")
    form.locator("[name=name]").fill("Omar")
    form.locator("[name=login]").fill("omar")
    form.locator("[name=role]").select_option("operator")
    form.locator("button").click()
    link = page.locator("[data-copied]").inner_text()
    assert page.locator("svg.qr").count() == 1, "no code for a camera"
    with browser.new_context() as context:
        theirs = open_page(context)
        authenticator(theirs)
        theirs.goto(base + link[link.index("/login"):])
        theirs.fill("[name=password]", PASSWORD)
        theirs.fill("[name=again]", PASSWORD)
        theirs.click("form button[type=submit]")
        theirs.locator("h1", has_text="Add a second factor").wait_for()
        theirs.evaluate("fetch('/agents', {redirect: 'manual'}).then(r => { if (r.type !== 'opaqueredirect') throw new Error('let in') })")
        theirs.locator("form[data-passkey=create] [name=name]").fill("Phone")
        theirs.locator("form[data-passkey=create] button").click()
        theirs.wait_for_url(f"{base}/account/factors")
        theirs.locator("td", has_text="Phone").wait_for()
    page.goto(f"{base}/people?filter=factor:passkey+role:operator")
    page.locator("a", has_text="Omar").click()
    page.locator("dd", has_text="Phone").wait_for()
    page.locator(f"form[action$='/sessions/revoke'] button", has_text="End all").click()
    page.get_by_text("They are signed in nowhere").wait_for()
    return page.url.split("?")[0]


def taken_in(page):
    """A list is looked at first, then everybody on it is added."""
    page.goto(f"{base}/people/import")
    page.fill("[name=csv]", "login,name,role\nada,Ada Lovelace,viewer\nines,Twice,viewer")
    page.click("button[value=preview]")
    page.get_by_text("1 of 2 lines are wrong").wait_for()
    page.fill("[name=csv]", "login,name,role\nada,Ada Lovelace,viewer")
    page.click("button[value=preview]")
    page.click("button[value=import]")
    page.get_by_text("1 people are added").wait_for()
    page.goto(f"{base}/people")
    with page.expect_download() as caught:
        page.click("button[value=csv]")
    assert "Ada Lovelace" in open(caught.value.path()).read()


def narrow(browser, *more):
    """The pages fit a phone, light and dark."""
    state = os.path.join(muster.folder, "state.json")
    for width, height in ((1440, 900), (390, 844)):
        for scheme in ("light", "dark"):
            with browser.new_context(storage_state=state, viewport={"width": width, "height": height}, color_scheme=scheme) as context:
                page = open_page(context)
                for path in ("/account", "/account/factors", "/confirm", "/people", "/people/rules", "/people/import", "/help/signing-in", *more):
                    page.goto(base + path)
                    assert page.url == base + path, page.url
                    wide = page.evaluate("document.documentElement.scrollWidth")
                    assert wide <= width, f"{path} is {wide} pixels wide at {width}"


def quiet():
    assert not mistakes, "; ".join(mistakes[:5])


FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", f"--ignore-certificate-errors-spki-list={pin()}",
]
with sync_playwright() as playwright:
    browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=FLAGS)
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = open_page(context)
    devtools, identifier = authenticator(page)
    story.step("set-up under a host name", lambda: set_up(page))
    story.step("a passkey is made and listed", lambda: add_passkey(page, "This laptop"))
    story.step("a passkey is renamed, and still signs in below", lambda: rename_passkey(page))
    story.step("the same authenticator makes no second one", lambda: same_twice(page))
    recovery = story.step("ten recovery codes are shown", lambda: codes(page))
    story.step("a passkey alone signs in, and comes back to the page that was asked for", lambda: passkey_alone(page))
    story.step("after the password the passkey is the second step", lambda: (sign_out(page), passkey_second(page)))
    story.step("an authenticator that asks nobody does not stand alone", lambda: unverified_alone(page, devtools, identifier))
    story.step("operators need a second factor from now on", lambda: rule(page))
    person = story.step("who is invited adds a passkey before anything else", lambda: invited(page, browser))
    story.step("people come from a list and leave as a file", lambda: taken_in(page))
    story.step("every page of it fits, light and dark", lambda: (context.storage_state(path=os.path.join(muster.folder, "state.json")), narrow(browser, (person or f"{base}/account")[len(base):])))
    story.step("under an address there are no passkeys, in words", lambda: under_an_address(browser))
    story.step("without JavaScript: a recovery code, an app, its code", lambda: app_without_script(browser, recovery))
    story.step("no error on any console, no violation of the policy", quiet)
    browser.close()
story.end()
