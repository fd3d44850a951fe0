"""Targets of files against OpenSSH's server and an S3 store, both started here on loopback and in a folder that goes."""

import atexit
import getpass
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request

from _muster import Story, free_port, until

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUCKET = "backups"
story = Story()
folder = tempfile.mkdtemp(prefix="muster-targets-")
atexit.register(shutil.rmtree, folder, True)
started = []


def path(*names):
    return os.path.join(folder, *names)


def run(*words, **options):
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=120, **options)
    assert done.returncode == 0, f"{words[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def start(name, *words):
    log = open(path(f"{name}.log"), "wb")
    process = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log, cwd=folder)
    started.append(process)
    return process


def stop():
    for process in started:
        process.terminate()
    for process in started:
        process.wait(20)


atexit.register(stop)


def ssh_server():
    """Debian's sshd as the current user, with a host key and keys of users of its own."""
    port, sshd = free_port(), shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if os.getuid() == 0:
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path("host"))
    os.mkdir(path("there"))
    open(path("authorized"), "w").close()
    with open(path("sshd.conf"), "w") as config:
        config.write(
            f"""Port {port}
ListenAddress 127.0.0.1
HostKey {path("host")}
AuthorizedKeysFile {path("authorized")}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
Subsystem sftp internal-sftp
"""
        )
    server = start("sshd", sshd, "-D", "-e", "-f", path("sshd.conf"))
    until(20, "sshd", lambda: server.poll() is None and b"listening" in open(path("sshd.log"), "rb").read())
    return {
        "SFTP_PORT": str(port),
        "SFTP_USER": getpass.getuser(),
        "SFTP_FOLDER": path("there"),
        "SFTP_AUTHORIZED": path("authorized"),
        "SFTP_FINGERPRINT": run("ssh-keygen", "-lf", path("host.pub")).split()[1],
    }


def authority(name):
    """A certificate authority and a server's certificate that it signed."""
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
        "-keyout", path(f"{name}.key"), "-out", path(f"{name}.pem"))
    run("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=store",
        "-keyout", path(f"{name}-server.key"), "-out", path(f"{name}-server.csr"))
    with open(path("names"), "w") as names:
        names.write("subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
    run("openssl", "x509", "-req", "-days", "2", "-in", path(f"{name}-server.csr"), "-CA", path(f"{name}.pem"),
        "-CAkey", path(f"{name}.key"), "-CAcreateserial", "-extfile", path("names"), "-out", path(f"{name}-server.pem"))
    return path(f"{name}.pem")


def s3_store(*words):
    port = free_port()
    scheme = "https" if words else "http"
    # The module, not the script: scripts of an environment that was moved no longer start.
    server = start(f"store-{scheme}", sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", port, *words)
    log = path(f"store-{scheme}.log")
    until(60, "the store", lambda: server.poll() is None and b"Running on" in open(log, "rb").read())
    return f"{scheme}://127.0.0.1:{port}"


def make_bucket(endpoint, context=None):
    handlers = [urllib.request.ProxyHandler({})]
    if context:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    key = "AWS4-HMAC-SHA256 Credential=test-key/20261125/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    request = urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT", headers={"Authorization": key})
    urllib.request.build_opener(*handlers).open(request, timeout=20).close()


def stores():
    import ssl

    ca, other = authority("ours"), authority("other")
    http = s3_store()
    https = s3_store("-s", "-c", path("ours-server.pem"), "-k", path("ours-server.key"))
    make_bucket(http)
    make_bucket(https, ssl.create_default_context(cafile=ca))
    return {
        "S3_HTTP": http,
        "S3_HTTPS": https,
        "S3_BUCKET": BUCKET,
        "S3_AUTHORITY": ca,
        "S3_OTHER_AUTHORITY": other,
    }


def contract(told):
    words = ["cargo", "test", "--locked", "--quiet", "--test", "targets", *sys.argv[1:]]
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **told}, timeout=1800)
    assert done.returncode == 0, f"cargo test ended with {done.returncode}"


ssh = story.step("sshd is started", ssh_server) or {}
s3 = story.step("an S3 store is started, in the clear and over TLS", stores) or {}
story.step("every target keeps its contract against them", lambda: contract({**ssh, **s3}))
story.end()
