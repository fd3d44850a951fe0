"""Single sign-on against servers that nobody here wrote: a certified OpenID provider and OpenLDAP, started here on
loopback and in a folder that goes. The forms of the provider are sent as a browser sends them."""

import atexit
import html
import http.cookiejar
import json
import os
import random
import re
import shutil
import socket
import ssl
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from _muster import PASSWORD, Muster, NoRedirect, Story, code, until

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = os.environ.get("OPENID", os.path.join(os.path.dirname(HERE), "target", "openid", "node_modules"))
story = Story()
folder = tempfile.mkdtemp(prefix="muster-sign-on-")
atexit.register(shutil.rmtree, folder, True)
started = []


def path(*names):
    return os.path.join(folder, *names)


def quiet_port():
    """A port that no connection of somebody else gets by chance between now and when a server binds it."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as held:
            if held.connect_ex(("127.0.0.1", port)):
                return port


def ready(seconds, name, server, word):
    """Waits for a server's first word."""
    def look():
        assert server.poll() is None, f"{name} ended: {logged(name)[-2000:]}"
        return word in logged(name)

    until(seconds, name, look)


def write(name, text):
    with open(path(name), "w") as file:
        file.write(text)
    return path(name)


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60, **options)
    assert done.returncode == 0, f"{words[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def start(name, *words, **options):
    log = open(path(f"{name}.log"), "wb")
    process = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log, cwd=folder, **options)
    started.append(process)
    return process


def logged(name):
    with open(path(f"{name}.log"), errors="replace") as log:
        return log.read()


def stop():
    for process in started:
        process.terminate()
    for process in started:
        process.wait(20)


atexit.register(stop)


def authority(name):
    """An authority and a certificate for this machine that it signed."""
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-keyout", path(f"{name}.key"), "-out", path(f"{name}.pem"))
    run("openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=server",
        "-keyout", path(f"{name}-server.key"), "-out", path(f"{name}-server.csr"))
    write("names", "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    run("openssl", "x509", "-req", "-days", "2", "-in", path(f"{name}-server.csr"), "-CA", path(f"{name}.pem"),
        "-CAkey", path(f"{name}.key"), "-CAcreateserial", "-extfile", path("names"), "-out", path(f"{name}-server.pem"))
    with open(path(f"{name}.pem")) as pem:
        return pem.read()


OURS, OTHER = authority("ours"), authority("other")
muster = Muster(config='[site]\nhosts = ["127.0.0.1"]\n')


class Browser:
    """A browser of its own, which trusts both sites, keeps cookies, and follows redirects one by one."""

    def __init__(self):
        self.jar = http.cookiejar.CookieJar()
        tls = ssl.create_default_context(cafile=muster.authority)
        tls.load_verify_locations(path("ours.pem"))
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls),
            urllib.request.HTTPCookieProcessor(self.jar), NoRedirect(),
        )

    def ask(self, url, fields=None):
        """Status, where it leads, and the text."""
        url = urllib.parse.urljoin(muster.base, url)
        parts = urllib.parse.urlsplit(url)
        headers, body = {}, None
        if fields is not None:
            headers["Origin"], body = f"{parts.scheme}://{parts.netloc}", urllib.parse.urlencode(fields).encode()
        try:
            with self.opener.open(urllib.request.Request(url, body, headers), timeout=20) as answer:
                return answer.status, None, answer.read().decode()
        except urllib.error.HTTPError as answer:
            to = answer.headers.get("location")
            return answer.code, to and urllib.parse.urljoin(url, to), answer.read().decode()

    def follow(self, url, fields=None):
        """Goes on until a page comes; gives its address, status and text. The addresses on the way are kept."""
        self.way = [url]
        for _ in range(15):
            status, to, text = self.ask(url, fields)
            if to is None:
                return url, status, text
            url, fields = to, None
            self.way.append(url)
        raise AssertionError(f"too many redirects: {self.way}")

    def form(self, url, text, **typed):
        """Sends the first form of a page."""
        action = html.unescape(re.search(r'<form[^>]*action="([^"]+)"', text).group(1))
        fields = {}
        for tag in re.findall(r"<input[^>]*>", text):
            name = re.search(r'name="([^"]+)"', tag)
            value = re.search(r'value="([^"]*)"', tag)
            if name:
                fields[name.group(1)] = html.unescape(value.group(1)) if value else ""
        return self.follow(urllib.parse.urljoin(url, action), {**fields, **typed})

    def csrf(self):
        _, _, text = self.ask("/account")
        return re.search(r'name="csrf" value="([^"]*)"', text).group(1)

    def post(self, to, **fields):
        return self.ask(to, {"csrf": self.csrf(), **fields})

    def sign_in(self, provider, login, begin=None):
        """Through the button, the provider's forms and back; gives the last page."""
        url, status, text = self.follow(begin or f"/login/oidc/{provider}")
        for _ in range(3):
            if "/interaction/" not in url:
                break
            url, status, text = self.form(url, text, login=login, password="any")
        return url, status, text

    def roles(self):
        """What the account's page says the person may do; nothing when nobody is signed in."""
        status, _, text = self.ask("/account")
        found = re.search(r'<h2 id="profile">Profile</h2><span class="sub">([^<]*)</span>', text)
        return found.group(1) if status == 200 and found else None

    def onward(self, text):
        """Where a page goes on to by itself."""
        return html.unescape(re.search(r'http-equiv="refresh" content="0; url=([^"]+)"', text).group(1))


def set_up():
    muster.set_up()
    muster.authority = muster.trust()
    text = muster.form("/people/keys", csrf=muster.csrf("/account"), name="story", role="owner", days="")[2]
    muster.key = re.search(r"mst_[0-9A-Za-z]+", text).group(0)
    return muster


def provider_add(**fields):
    return muster.api("POST", "/identity/providers", fields)["id"]


def provider_test(provider):
    return muster.api("POST", f"/identity/providers/{provider}/test", {})["found"]


PEOPLE = {
    "sub-omar": { "name": "Omar Haddad", "preferred_username": "omar", "groups": ["ops", "x"]},
    "vera": {"name": "Vera Blum", "preferred_username": "vera", "groups": []},
    "ines": {"name": "Another Inès", "preferred_username": "ines", "groups": ["ops"]},
}
ISSUER = f"https://127.0.0.1:{quiet_port()}"
MAPPINGS = [{"group": "ops", "role": "operator"}, {"group": "auditors", "role": "auditor"}]


def openid(algorithm="RS256"):
    """Adds the provider here, then starts it with our address, which holds the identifier."""
    secret = "a secret of 32 characters or more"
    settings = {"kind": "oidc", "issuer": ISSUER, "client_id": "muster", "authority": OURS, "scopes": "openid profile groups"}
    provider = provider_add(name="Plant ID", settings=settings, secret=secret, mappings=MAPPINGS, makes_people=True)
    write("people.json", json.dumps(PEOPLE))
    client = {
        "client_id": "muster", "client_secret": secret, "redirect_uris": [f"{muster.base}/login/oidc/callback"],
        "post_logout_redirect_uris": [f"{muster.base}/login"], "id_token_signed_response_alg": algorithm,
        "backchannel_logout_uri": f"{muster.base}/login/oidc/{provider}/logout", "backchannel_logout_session_required": True,
    }
    others = [{**client, "client_id": alg, "id_token_signed_response_alg": alg} for alg in ("ES256", "PS256", "EdDSA")]
    settings = write("openid.json", json.dumps({
        "issuer": ISSUER, "modules": MODULES, "people": path("people.json"), "clients": [client, *others],
        "key": path("ours-server.key"), "certificate": path("ours-server.pem"),
    }))
    server = start("openid", "node", os.path.join(HERE, "_openid.mjs"), settings,
                   env={**os.environ, "NODE_EXTRA_CA_CERTS": muster.authority})
    ready(30, "openid", server, "listening")
    return provider


def groups(person, *names):
    PEOPLE[person]["groups"] = list(names)
    write("people.json", json.dumps(PEOPLE))


def tested():
    found = provider_test(provider)
    assert "4 keys" in found and "sign-out from there" in found, found


def signs_in():
    browser = Browser()
    _, _, text = browser.ask("/login?next=/agents")
    assert "Sign in with Plant ID" in text
    url, status, text = browser.sign_in(provider, "sub-omar", f"/login/oidc/{provider}?next=/agents")
    assert status == 200 and "You are signed in" in text, f"{url} {status} {text[-800:]}"
    assert browser.onward(text) == "/agents"
    assert browser.roles() == "operator", browser.roles()
    user = [one for one in muster.api("GET", "/identity/users")["items"] if one["login"] == "omar"][0]
    assert (user["name"], user["roles"], user["password_set"]) == ("Omar Haddad", "operator", False), user
    # The answer counts once.
    again = [url for url in browser.way if "/callback" in url][0]
    assert browser.ask(again)[0] == 401
    return browser


def groups_decide():
    groups("sub-omar", "auditors")
    browser = Browser()
    browser.sign_in(provider, "sub-omar")
    assert browser.roles() == "auditor", browser.roles()
    assert omar.roles() == "auditor", "and in the session that was there, at once"
    groups("sub-omar")
    browser.sign_in(provider, "sub-omar")
    assert Browser().roles() is None
    user = [one for one in muster.api("GET", "/identity/users")["items"] if one["login"] == "omar"][0]
    assert user["roles"] == "no role", user
    groups("sub-omar", "ops")


def half_way():
    muster.api("PATCH", "/identity/policy", {"second_factor_for": ["operator"]})
    browser = Browser()

    def outside():
        assert browser.roles() is None
        for place in ("/agents", "/account/factors", "/api/v1/agents", "/api/v1/identity/sessions"):
            status, to, _ = browser.ask(place)
            assert status == 401 or "/login" in (to or ""), f"{place} {status} {to}"

    def shown(name):
        return html.unescape(re.search(rf'name="{name}" value="([^"]*)"', text).group(1))

    url, status, text = browser.sign_in(provider, "sub-omar", f"/login/oidc/{provider}?next=/agents")
    assert status == 200 and "Add a second factor" in text, f"{url} {status} {text[-800:]}"
    outside()
    fields = {"csrf": "", "attempt": shown("attempt"), "sealed": shown("sealed")}
    key = re.search(r'id="key">([^<]+)<', text).group(1)
    assert browser.ask("/login/enrol", {**fields, "code": "000000"})[0] == 401
    outside()
    assert browser.ask("/login/enrol", {**fields, "code": code(key)})[0] == 303
    assert browser.roles() == "operator", browser.roles()
    # From then on it is asked for.
    browser = Browser()
    url, status, text = browser.sign_in(provider, "sub-omar", f"/login/oidc/{provider}?next=/agents")
    assert status == 200 and "Second step" in text, f"{url} {status} {text[-800:]}"
    outside()
    fields = {"csrf": "", "attempt": shown("attempt")}
    assert browser.ask("/login/second", {**fields, "code": "000000"})[0] == 401
    outside()
    # The code of a moment ago is spent; the next one counts a little early.
    status, to, _ = browser.ask("/login/second", {**fields, "code": code(key, 1)})
    assert status == 303 and to.endswith("/agents") and browser.roles() == "operator", f"{status} {to}"
    muster.api("PATCH", "/identity/policy", {"second_factor_for": []})
    muster.api("POST", f"/identity/users/{user_of('omar')}/factors/remove", {})


def strangers_stay_out():
    browser = Browser()
    url, status, text = browser.sign_in(provider, "vera")
    assert status == 403 and "none of your groups" in text, f"{url} {status}"
    url, status, text = Browser().sign_in(provider, "ines")
    assert status == 403 and "there is a local person" in text, f"{url} {status}"
    assert browser.roles() is None
    # A state in another browser, and one that nobody began.
    mine, theirs = Browser(), Browser()
    mine.follow(f"/login/oidc/{provider}")
    asked = [url for url in mine.way if "state=" in url][0]
    state = urllib.parse.parse_qs(urllib.parse.urlsplit(asked).query)["state"][0]
    for browser, query in [(theirs, {"state": state, "code": "x"}), (mine, {"state": "x", "code": "x"})]:
        assert browser.ask("/login/oidc/callback?" + urllib.parse.urlencode(query))[0] == 401
    # A code that the provider did not give, and an answer of another provider.
    for query in [{"code": "x"}, {"code": "x", "iss": "https://evil.example"}, {"error": "access_denied"}]:
        mine = Browser()
        mine.follow(f"/login/oidc/{provider}")
        asked = [url for url in mine.way if "state=" in url][0]
        query["state"] = urllib.parse.parse_qs(urllib.parse.urlsplit(asked).query)["state"][0]
        status, _, text = mine.ask("/login/oidc/callback?" + urllib.parse.urlencode(query))
        assert status in (401, 503) and mine.roles() is None, f"{query} {status}"


def links_explicitly():
    browser = Browser()
    status, to, _ = browser.ask("/login", {"csrf": "", "next": "/", "login": "ines", "password": PASSWORD})
    assert status == 303 and browser.roles() == "owner", f"{status} {to}"
    status, _, text = browser.post(f"/account/link/{provider}")
    assert status == 200, text[-400:]
    url, status, text = browser.sign_in(provider, "ines", browser.onward(text))
    assert status == 200 and "is linked" in text, f"{url} {status} {text[-800:]}"
    other = Browser()
    url, status, text = other.sign_in(provider, "ines")
    assert status == 200, f"{url} {status}"
    assert "owner" in other.roles() and "operator" in other.roles(), other.roles()


def every_algorithm():
    for algorithm in ("ES256", "PS256", "EdDSA"):
        settings = {"kind": "oidc", "issuer": ISSUER, "client_id": algorithm, "authority": OURS, "scopes": "openid profile groups"}
        one = provider_add(name=algorithm, settings=settings, secret="a secret of 32 characters or more",
                           mappings=MAPPINGS, makes_people=False)
        muster.api("POST", f"/identity/users/{user_of('omar')}/links", {"provider": one, "subject": "sub-omar"})
        browser = Browser()
        url, status, text = browser.sign_in(one, "sub-omar")
        assert status == 200 and "operator" in browser.roles(), f"{algorithm} {url} {status} {text[-500:]}"
        muster.api("DELETE", f"/identity/providers/{one}")
        assert browser.roles() is None, "its session ends with it"


def user_of(login):
    return [one["id"] for one in muster.api("GET", "/identity/users")["items"] if one["login"] == login][0]


def signs_out_everywhere():
    one = Browser()
    one.sign_in(provider, "sub-omar")
    # Another browser of the same person, signed in at the provider by the same session.
    two = Browser()
    for cookie in one.jar:
        if not cookie.name.startswith("__Host-"):
            two.jar.set_cookie(cookie)
    url, status, _ = two.sign_in(provider, "nobody")
    assert status == 200 and two.roles() == "operator", f"{url} {status}"
    status, to, _ = one.post("/logout")
    assert status == 303 and f"left={provider}" in to, to
    _, _, text = one.ask(to)
    assert "Sign out there too" in text and one.roles() is None and two.roles() == "operator"
    url, status, text = one.follow(f"/login/oidc/{provider}/leave")
    url, status, text = one.form(url, text, logout="yes")
    assert url.startswith(f"{muster.base}/login"), f"{url} {status}"
    until(10, "the provider's word", lambda: "backchannel muster:" in logged("openid"))
    assert "backchannel muster: told" in logged("openid"), logged("openid")
    assert two.roles() is None, "the provider ended it"


def wrong_authority():
    settings = {"kind": "oidc", "issuer": ISSUER, "client_id": "muster", "authority": OTHER}
    one = provider_add(name="Impostor", settings=settings, secret="x")
    try:
        raise SystemExit(provider_test(one))
    except AssertionError as refused:
        assert "503" in str(refused) and "certificate" in str(refused).lower(), refused
    muster.api("DELETE", f"/identity/providers/{one}")


def provider_down():
    started[-1].terminate()
    started[-1].wait(20)
    started.pop()
    status, _, text = Browser().ask(f"/login/oidc/{provider}")
    # What it published is known for an hour: the browser is sent there, and finds nothing.
    assert status in (303, 503), f"{status} {text[-300:]}"
    browser = Browser()
    assert browser.ask("/login", {"csrf": "", "next": "/", "login": "ines", "password": PASSWORD})[0] == 303
    assert "owner" in browser.roles()


LDIF = """dn: dc=site
objectClass: dcObject
objectClass: organization
dc: site
o: site

dn: ou=people,dc=site
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=site
objectClass: organizationalUnit
ou: groups

dn: cn=reader,dc=site
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: reads only

dn: uid=lina,ou=people,dc=site
objectClass: inetOrgPerson
uid: lina
cn: Lina Koch
sn: Koch
userPassword: directory password

dn: uid=ines,ou=people,dc=site
objectClass: inetOrgPerson
uid: ines
cn: Another Ines
sn: Ines
userPassword: directory password

dn: cn=ops,ou=groups,dc=site
objectClass: groupOfNames
cn: ops
member: uid=lina,ou=people,dc=site
member: cn=reader,dc=site
"""


def directory():
    plain, secure = quiet_port(), quiet_port()
    os.mkdir(path("ldap"))
    config = write("slapd.conf", f"""
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
pidfile {path("slapd.pid")}
TLSCertificateFile {path("ours-server.pem")}
TLSCertificateKeyFile {path("ours-server.key")}
TLSCACertificateFile {path("ours.pem")}
database mdb
suffix dc=site
rootdn cn=root,dc=site
rootpw root
directory {path("ldap")}
overlay memberof
access to attrs=userPassword by anonymous auth by * none
access to * by users read by * none
""")
    urls = f"ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{secure}"
    slapd = shutil.which("slapd", path=os.environ["PATH"] + ":/usr/sbin")
    server = start("slapd", slapd, "-f", config, "-h", urls, "-d", "stats")
    change = ["-x", "-H", f"ldap://127.0.0.1:{plain}", "-D", "cn=root,dc=site", "-w", "root"]
    ready(20, "slapd", server, "slapd starting")
    run("ldapadd", *change, input=LDIF)
    return {"plain": f"ldap://127.0.0.1:{plain}", "secure": f"ldaps://127.0.0.1:{secure}", "change": change}


def type_password(login, password, browser=None):
    browser = browser or Browser()
    status, _, text = browser.ask("/login", {"csrf": "", "next": "/", "login": login, "password": password})
    said = re.search(r'id="sign-in-error">.*?</svg>([^<]*)<', text)
    return browser, status, said and html.unescape(said.group(1))


def searched():
    settings = {
        "kind": "ldap", "url": ldap["secure"], "authority": OURS, "base": "ou=people,dc=site",
        "reader": "cn=reader,dc=site", "filter": "(&(objectClass=inetOrgPerson)(uid={login}))",
    }
    one = provider_add(name="Directory", settings=settings, secret="reads only", mappings=MAPPINGS, makes_people=True)
    assert "is there" in provider_test(one)
    browser, status, said = type_password("lina", "directory password")
    assert status == 303 and browser.roles() == "operator", f"{status} {said} {browser.roles()}"
    _, wrong_status, wrong = type_password("lina", "another password")
    _, unknown_status, unknown = type_password("nobody", "another password")
    assert (wrong_status, wrong) == (unknown_status, unknown) == (401, wrong), f"{wrong} {unknown}"
    for login in ("*", "lina)(uid=*", "l*", "lina,ou=people", "lina\\"):
        assert type_password(login, "directory password")[1] == 401, login
    assert type_password("lina", "")[1] == 401
    # A local person is not asked for there.
    assert type_password("ines", "directory password")[1] == 401
    assert 'BIND dn="uid=ines' not in logged("slapd"), "no password of a local person left for the directory"
    run("ldapmodify", *ldap["change"], input="dn: cn=ops,ou=groups,dc=site\nchangetype: modify\ndelete: member\nmember: uid=lina,ou=people,dc=site\n")
    again, status, _ = type_password("lina", "directory password")
    assert status == 303 and browser.roles() == "" and again.roles() == "", f"{status} {browser.roles()}"
    run("ldapmodify", *ldap["change"], input="dn: cn=ops,ou=groups,dc=site\nchangetype: modify\nadd: member\nmember: uid=lina,ou=people,dc=site\n")
    muster.api("DELETE", f"/identity/providers/{one}")
    assert browser.roles() is None and type_password("lina", "directory password")[1] == 401


def bound_by_pattern():
    for url, start_tls, ca in [(ldap["plain"], True, OURS), (ldap["plain"], False, None)]:
        settings = {
            "kind": "ldap", "url": url, "start_tls": start_tls, "authority": ca, "group_attribute": "",
            "pattern": "uid={login},ou=people,dc=site", "group_base": "ou=groups,dc=site",
        }
        one = provider_add(name="Directory", settings=settings, mappings=MAPPINGS, makes_people=False)
        subject = run("ldapsearch", *ldap["change"], "-LLL", "-b", "uid=lina,ou=people,dc=site", "entryUUID")
        subject = re.search(r"entryUUID: (\S+)", subject).group(1)
        muster.api("POST", f"/identity/users/{user_of('lina')}/links", {"provider": one, "subject": subject})
        browser, status, said = type_password("lina", "directory password")
        assert status == 303 and browser.roles() == "operator", f"{status} {said} {browser.roles()}"
        assert type_password("lina", "another password")[1] == 401
        assert type_password("x+uid=lina", "directory password")[1] == 401
        muster.api("DELETE", f"/identity/providers/{one}")


def uncertified_directory():
    for url, start_tls in [(ldap["secure"], False), (ldap["plain"], True)]:
        settings = {"kind": "ldap", "url": url, "start_tls": start_tls, "authority": OTHER, "pattern": "uid={login}"}
        one = provider_add(name="Impostor", settings=settings)
        _, status, said = type_password("lina", "directory password")
        assert status == 503 and "cannot be asked" in said, f"{status} {said}"
        muster.api("DELETE", f"/identity/providers/{one}")


def ends_well():
    code = muster.stop()
    assert code == 0, f"the server ended with {code}"


story.step("an owner with a password", set_up)
provider = story.step("an OpenID provider is added and started", openid)
story.step("a test reads what it can do", tested)
omar = story.step("a browser signs in by it, with the role of its group", signs_in)
story.step("a group that is gone takes its role away", groups_decide)
story.step("whose role needs a second factor shows it here before anything opens", half_way)
story.step("nobody else comes in, and no answer that was not asked for", strangers_stay_out)
story.step("a local person links their account themselves", links_explicitly)
story.step("tokens of every accepted algorithm", every_algorithm)
story.step("signing out at the provider ends sessions here", signs_out_everywhere)
story.step("a provider with another authority's certificate is not spoken with", wrong_authority)
story.step("when the provider is down, local people sign in", provider_down)
ldap = story.step("OpenLDAP is started", directory)
story.step("people sign in with a directory's password, found by a reading account", searched)
story.step("people sign in by the pattern of their entries, with StartTLS and on this machine", bound_by_pattern)
story.step("no password goes to a directory that another authority certifies", uncertified_directory)
story.step("the server stops cleanly", ends_well)
story.end()
