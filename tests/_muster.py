"""A server in a folder that goes away, and what a story needs to talk to it from outside."""

import atexit
import base64
import hashlib
import hmac
import http.cookiejar
import json
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request

PROGRAM = os.environ.get("PROGRAM", "target/debug/muster")
PASSWORD = "correct horse battery staple"


def until(seconds, what, ask):
    """Asks until the answer is something, and says what was waited for when it is not in time."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s for {what}")
        time.sleep(0.05)


def code(key, ahead=0):
    """What an authenticator app shows (RFC 6238)."""
    secret = base64.b32decode(key.replace(" ", "") + "=" * (-len(key.replace(" ", "")) % 8))
    digest = hmac.new(secret, struct.pack(">Q", int(time.time()) // 30 + ahead), hashlib.sha1).digest()
    at = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[at:at + 4])[0] & 0x7FFFFFFF) % 1_000_000:06}"


class Story:
    """Counts what holds. A step that raises has failed; the story goes on."""

    def __init__(self):
        self.passed, self.failed = 0, 0

    def step(self, name, run):
        began = time.monotonic()
        try:
            answer = run()
        except Exception as error:  # a story tells everything that does not hold, not only the first
            self.failed += 1
            print(f"FAILED  {name}: {error}", flush=True)
            if not isinstance(error, AssertionError):
                traceback.print_exc()
            return None
        self.passed += 1
        print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
        return answer

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


class Muster:
    def __init__(self, *flags, config=""):
        self.folder = tempfile.mkdtemp(prefix="muster-story-")
        self.http, self.mqtt = free_port(), free_port()
        self.base = f"https://127.0.0.1:{self.http}"
        self.lines, self.key = [], None
        self.log = open(os.path.join(self.folder, "log"), "w+b")
        data = os.path.join(self.folder, "data")
        if config:
            name = os.path.join(self.folder, "muster.toml")
            with open(name, "w") as file:
                file.write(config)
            flags = ("--config", name, *flags)
        self.process = subprocess.Popen(
            [PROGRAM, "serve", "--data", data, "--http", f"127.0.0.1:{self.http}", "--mqtt", f"127.0.0.1:{self.mqtt}", *flags],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        atexit.register(self.stop)
        threading.Thread(target=self._read, daemon=True).start()
        self.fingerprint = until(60, "the fingerprint", lambda: self._printed(r"Authority\s+(\S+)"))
        self.code = until(60, "the setup code", lambda: self._printed(r"Setup code\s+(\S+)"))
        # Before the authority is known nothing can be verified; `trust` ends that.
        self.tls = ssl._create_unverified_context()
        self.cookies = http.cookiejar.CookieJar()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def _printed(self, pattern):
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended: {self.logged()[-2000:]}")
        found = re.search(pattern, "".join(self.lines))
        return found and found.group(1)

    def logged(self):
        with open(self.log.name, errors="replace") as log:
            return log.read()

    def stop(self):
        """Stops cleanly; the exit status is 0."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
        return self.process.returncode

    def request(self, method, path, body=None, headers=None, follow=False):
        """Status, headers and text, as a browser with cookies gets them."""
        handlers = [urllib.request.HTTPSHandler(context=self.tls), urllib.request.HTTPCookieProcessor(self.cookies)]
        if not follow:
            handlers.append(NoRedirect())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), *handlers)
        request = urllib.request.Request(self.base + path, body, headers or {}, method=method)
        try:
            with opener.open(request, timeout=20) as answer:
                return answer.status, answer.headers, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers, answer.read().decode()

    def page(self, path):
        status, _, text = self.request("GET", path)
        assert status == 200, f"{path}: {status}"
        return text

    def form(self, path, **fields):
        body = urllib.parse.urlencode(fields).encode()
        headers = {"Origin": self.base, "Content-Type": "application/x-www-form-urlencoded"}
        return self.request("POST", path, body, headers)

    def csrf(self, path):
        return re.search(r'name="csrf" value="([^"]*)"', self.page(path)).group(1)

    def set_up(self):
        """Makes the first owner as a browser does; the cookie stays."""
        fields = {"code": self.code, "name": "Inès Moreau", "login": "ines", "password": PASSWORD}
        # The names of the fields are the form's own.
        fields.update({name: PASSWORD for name in re.findall(r'name="([^"]+)" type="password"', self.page("/setup"))})
        status, _, text = self.form("/setup", csrf=self.csrf("/setup"), **fields)
        assert status == 303, f"{status}: {text[:400]}"
        assert self.page("/")

    def trust(self):
        """Takes the authority from the settings page and verifies from now on; gives the file's name."""
        link = re.search(r'href="data:application/x-pem-file,([^"]+)"', self.page("/settings")).group(1)
        pem = urllib.parse.unquote(link.replace("&#x2F;", "/").replace("&#38;", "&"))
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.strip() + "\n")).hexdigest()
        printed = re.sub(r"[^0-9a-f]", "", self.fingerprint.lower())
        assert digest == printed, f"{digest} is not the printed {self.fingerprint}"
        name = os.path.join(self.folder, "ca.pem")
        with open(name, "w") as file:
            file.write(pem)
        self.tls = ssl.create_default_context(cafile=name)
        assert self.page("/settings")
        return name

    def api(self, method, path, body=None, key=None):
        """A call with the API key and without any cookie."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        data = None
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        request = urllib.request.Request(self.base + "/api/v1" + path, data, headers, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.tls))
        try:
            with opener.open(request, timeout=20) as answer:
                text = answer.read().decode()
                return json.loads(text) if text else None
        except urllib.error.HTTPError as answer:
            raise AssertionError(f"{method} {path}: {answer.code} {answer.read().decode()[:400]}") from None
