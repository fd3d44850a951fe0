#!/usr/bin/env python3
"""Boots the packages for real: a Debian tree with systemd as its first process, on a network of its own without a way out.

    packaging/boot-test.py SERVER.deb NEWER-SERVER.deb AGENT.deb

Installs, sets up over HTTPS from the host, restarts, reloads, is stopped by the watchdog and comes back, upgrades with the
data kept, removes, and purges with nothing left. Needs root, systemd-container, debootstrap and iproute2. The tree is made
once and kept as $BOOT_TREE (default ~/.cache/muster/bookworm.tar.zst). Where containers cannot run it says so and ends well.
FIGURES=no prints memory and time to ready without judging them.
"""

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import time
import http.cookiejar

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests"))
from _muster import Muster, Story, until  # noqa: E402  (the client of the stories, which is a folder away)

CACHE = os.path.expanduser(os.environ.get("BOOT_TREE", "~/.cache/muster/bookworm.tar.zst"))
# A network of two for each run, so that several can go on at once.
NET = f"10.203.{os.getpid() // 64 % 256}.{os.getpid() % 64 * 4}"
HOST, GUEST = (NET.rsplit(".", 1)[0] + f".{int(NET.rsplit('.', 1)[1]) + n}" for n in (1, 2))
RESIDENT_MAX, READY_MAX_MS = 60_000_000, 300
# A build for tests is neither small nor quick; its figures are printed and not judged.
JUDGED = os.environ.get("FIGURES") != "no"
EXPOSURE = {"muster": 13, "muster-agent": 30}


def run(*line, check=True, **more):
    done = subprocess.run(line, capture_output=True, text=True, **more)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(line)}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def skip(why):
    print(f"SKIPPED: the packages were not booted: {why}", flush=True)
    print("0 passed, 0 failed, 1 skipped", flush=True)
    sys.exit(0)


def tree():
    """A fresh copy of the tree, made by debootstrap when there is none yet."""
    if not os.path.exists(CACHE):
        os.makedirs(os.path.dirname(CACHE), exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="muster-tree-") as made:
            print("making the tree, once", flush=True)
            packages = "systemd,systemd-sysv,dbus,iproute2,procps"
            run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", made)
            run("sh", "-c", f"rm -f {made}/var/cache/apt/archives/*.deb; tar -C {made} -c . | zstd -q -o {CACHE}.part")
            os.rename(f"{CACHE}.part", CACHE)
    folder = tempfile.mkdtemp(prefix="muster-boot-")
    run("sh", "-c", f"zstd -dc {CACHE} | tar -C {folder} -x")
    os.chmod(folder, 0o755)
    return folder


class Machine:
    """The booted tree, on a network of its own: one wire to the host, no route beyond."""

    def __init__(self, folder):
        self.folder, self.space, self.leader = folder, f"muster-{os.getpid()}", None
        self.wire, self.process = f"mb{os.getpid() % 100_000}", None
        self.log = open(os.path.join(folder, "..", os.path.basename(folder) + ".console"), "w+b")
        try:
            self._boot()
        except BaseException:
            self.end()
            raise

    def _boot(self):
        run("ip", "netns", "add", self.space)
        run("ip", "link", "add", self.wire, "type", "veth", "peer", "name", "eth0", "netns", self.space)
        run("ip", "address", "add", f"{HOST}/30", "dev", self.wire)
        run("ip", "link", "set", self.wire, "up")
        for line in (f"address add {GUEST}/30 dev eth0", "link set eth0 up", "link set lo up"):
            run("ip", "-n", self.space, *line.split())
        environment = dict(os.environ)
        if run("stat", "-fc", "%T", "/sys/fs/cgroup").strip() != "cgroup2fs":
            environment["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY"] = "0"
        # Not by `--network-namespace-path`, which leaves the host's interfaces in /sys.
        line = ["nsenter", f"--net=/run/netns/{self.space}"]
        line += ["systemd-nspawn", "-q", "-D", self.folder, "--register=no", "--keep-unit", "-b"]
        self.process = subprocess.Popen(
            line, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=environment
        )
        until(30, "the first process", self._booted)

    def _booted(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the machine did not boot: {self.console()[-800:]}")
        for child in run("pgrep", "-P", str(self.process.pid), check=False).split():
            with open(f"/proc/{child}/comm") as name:
                if name.read().strip() == "systemd":
                    self.leader = child
        return self.leader and self.ask("systemctl", "is-system-running").strip() in ("running", "degraded")

    def console(self):
        with open(self.log.name, errors="replace") as log:
            return log.read()

    def line(self, *line):
        inside = ["nsenter", "-t", self.leader, "-m", "-u", "-i", "-p", "-n", "-w", "/usr/bin/env", "-i"]
        return [*inside, "PATH=/usr/sbin:/usr/bin", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", *line]

    def do(self, *line):
        return run(*self.line(*line))

    def ask(self, *line):
        """As `do`, whatever the exit status is."""
        done = subprocess.run(self.line(*line), capture_output=True, text=True)
        return done.stdout + done.stderr

    def path(self, name):
        """A path inside, for the host."""
        return f"/proc/{self.leader}/root{name}"

    def show(self, unit, *names):
        text = self.do("systemctl", "show", unit, "-p", ",".join(names))
        values = dict(line.split("=", 1) for line in text.strip().splitlines())
        return values[names[0]] if len(names) == 1 else [values[name] for name in names]

    def active(self, unit="muster", other_than="0"):
        """Whether it runs, as another process than this one. Asked at once: between two questions it may have ended."""
        state, process = self.show(unit, "ActiveState", "MainPID")
        return state == "active" and process not in ("0", other_than)

    def journal(self, unit):
        return self.ask("journalctl", "-u", unit, "--no-pager", "-o", "cat")

    def end(self):
        if self.log.closed:
            return self.process.returncode
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        run("ip", "netns", "del", self.space, check=False)
        run("ip", "link", "del", self.wire, check=False)
        self.log.close()
        os.remove(self.log.name)
        return self.process and self.process.returncode


class Console(Muster):
    """The console of the installed server, as a browser on another host has it."""

    def __init__(self, url, fingerprint):
        self.base, self.code = re.fullmatch(r"(https://[^/]+)/setup\?code=(\S+)", url).groups()
        self.folder, self.fingerprint, self.key = tempfile.mkdtemp(prefix="muster-console-"), fingerprint, None
        self.tls = ssl._create_unverified_context()
        self.cookies = http.cookiejar.CookieJar()


# Runs among the machine's processes: the server must see who is at the other end.
SPEAK = """
import socket, sys
with socket.socket(socket.AF_UNIX) as wire:
    wire.connect(sys.argv[1])
    wire.sendall(sys.argv[2].encode() + b"\\n")
    print(wire.makefile().readline())
"""


# Asks as whoever runs it.
STRANGER = r"""
$SIG{PIPE} = "IGNORE";  # who is refused at once is not listened to
my $wire = IO::Socket::UNIX->new(Peer => "/run/muster/ctl.sock") or die "not connected: $!";
print $wire "{\"op\":\"agents.counts\"}\n";
print <$wire>;
"""


def command(machine, op, **data):
    """What the command line says through its socket."""
    place, asked = machine.path("/run/muster/ctl.sock"), json.dumps({"op": op, "input": data})
    answer = json.loads(run("nsenter", "-t", machine.leader, "-p", sys.executable, "-c", SPEAK, place, asked))
    assert "ok" in answer, answer
    return answer["ok"]


def awake(machine):
    """Agents that speak, however well they are: a busy machine has warnings."""
    counts = command(machine, "agents.counts")
    return counts["healthy"] + counts["warning"] + counts["critical"]


def main(server, newer, agent):
    if os.geteuid() != 0:
        skip("only root can")
    for need in ("systemd-nspawn", "debootstrap", "ip", "zstd"):
        if not shutil.which(need):
            skip(f"`{need}` is missing")
    folder = tree()
    machine = None
    try:
        first = subprocess.run(
            ["systemd-nspawn", "-q", "-D", folder, "--register=no", "--keep-unit", "--", "/bin/true"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL,
        )
        if first.returncode:
            skip(f"systemd-nspawn cannot run here: {(first.stderr.strip().splitlines() or ['no word'])[-1]}")
        for package, name in ((server, "server"), (newer, "newer"), (agent, "agent")):
            shutil.copy(package, os.path.join(folder, "root", f"{name}.deb"))
        machine = Machine(folder)
        story(machine)
    finally:
        if machine:
            machine.end()
        shutil.rmtree(folder, ignore_errors=True)


def story(machine):
    told, known = Story(), {}

    def install():
        machine.do("dpkg", "-i", "/root/server.deb")
        until(20, "the server", machine.active)
        assert machine.show("muster", "NRestarts", "UnitFileState") == ["0", "enabled"]

    def confined():
        with open(machine.path(f"/proc/{machine.show('muster', 'MainPID')}/status")) as file:
            status = dict(line.split(":", 1) for line in file.read().splitlines())
        held = {name: status[name].split()[0] for name in ("Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp")}
        assert held["Uid"] != "0", held
        assert (int(held["CapEff"], 16), int(held["CapBnd"], 16)) == (0, 0), held
        assert (held["NoNewPrivs"], held["Seccomp"]) == ("1", "2"), held
        for name, mode in (("/var/lib/muster", "700"), ("/etc/muster", "750"), ("/run/muster/ctl.sock", "600")):
            assert machine.do("stat", "-c", "%a", name).strip() == mode, name

    def exposed():
        for unit, most in EXPOSURE.items():
            if not os.path.exists(machine.path(f"/usr/lib/systemd/system/{unit}.service")):
                machine.do("dpkg", "-x", "/root/agent.deb", "/tmp/agent")
                shutil.copy(machine.path(f"/tmp/agent/usr/lib/systemd/system/{unit}.service"), f"{machine.folder}/root")
                target = f"{machine.folder}/root/{unit}.service"
            else:
                target = machine.path(f"/usr/lib/systemd/system/{unit}.service")
            text = run("systemd-analyze", "security", "--offline=true", f"--threshold={most}", target)
            print(f"        {unit}: {re.search(r'exposure level.*: ([0-9.]+)', text).group(1)}", flush=True)

    def set_up():
        text = machine.do("muster", "setup-url")
        authority = re.search(r"fingerprint, (\S+)", text).group(1)
        console = known["console"] = Console(text.splitlines()[0], authority)
        assert console.base == f"https://{GUEST}:8443", console.base
        assert console.code not in machine.journal("muster"), "the code stands in the journal"
        console.set_up()
        console.trust()
        assert "owner already" in machine.ask("muster", "setup-url")

    def no_way_out():
        routes = machine.do("ip", "route").splitlines()
        assert len(routes) == 1 and GUEST in routes[0], routes

    def commanded():
        status = json.loads(machine.do("muster", "status", "--json"))
        assert status["folder"] == "/var/lib/muster" and not status["needs_setup"], status
        assert status["memory_bytes"] < RESIDENT_MAX or not JUDGED, status
        print(f"        resident {status['memory_bytes'] / 1e6:.1f} MB", flush=True)
        refused = machine.ask("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "muster", "status")
        assert "no server runs" in refused or "may not" in refused or "Permission" in refused, refused
        # The kernel's word counts, also where a mistake has opened the folder and the socket to everybody.
        machine.do("chmod", "a+rwx", "/run/muster", "/run/muster/ctl.sock")
        ask = ("perl", "-MIO::Socket::UNIX", "-e", STRANGER)
        stranger = machine.ask("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *ask)
        assert "user 65534 may not command this server" in stranger, stranger
        assert '"ok"' in machine.ask(*ask)
        machine.do("chmod", "750", "/run/muster")
        machine.do("chmod", "600", "/run/muster/ctl.sock")
        before = machine.show("muster", "MainPID")
        machine.do("systemctl", "reload", "muster")
        assert machine.show("muster", "MainPID") == before, "a reload is no restart"

    def restart():
        machine.do("systemctl", "restart", "muster")
        # Both stamps are of the kernel's clock, in microseconds.
        began, ready = machine.show("muster", "ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        took = (int(ready) - int(began)) / 1_000
        print(f"        ready after {took:.0f} ms", flush=True)
        assert took < READY_MAX_MS or not JUDGED, f"{took} ms"
        assert known["console"].page("/"), "the session is kept"

    def join():
        machine.do("dpkg", "-i", "/root/agent.deb")
        assert not machine.active("muster-agent"), "it has nothing to join yet"
        assert machine.show("muster-agent", "ConditionResult") == "no"
        code = command(machine, "agents.invite", minutes=10)["code"]
        line = f"{code.split('@')[0]}@127.0.0.1"
        machine.do("sh", "-c", f"umask 077; echo '{line}' > /etc/muster-agent/join")
        machine.do("systemctl", "restart", "muster-agent")
        until(20, "the agent", lambda: machine.active("muster-agent"))
        until(20, "both agents", lambda: awake(machine) >= 2)
        machine.do("rm", "/etc/muster-agent/join")
        machine.do("systemctl", "restart", "muster-agent")
        until(20, "the agent without its code", lambda: machine.active("muster-agent"))

    def refuse_mistakes():
        file = machine.path("/etc/muster/muster.toml")
        with open(file) as open_file:
            text = open_file.read()
        with open(file, "w") as open_file:
            open_file.write(text.replace('[log]', '[log]\nlevl = "info"'))
        machine.ask("systemctl", "restart", "muster")
        until(10, "the failure", lambda: machine.show("muster", "ActiveState") == "failed")
        assert machine.show("muster", "ExecMainStatus", "NRestarts") == ["2", "0"]
        assert "did you mean `level`" in machine.journal("muster")
        # The owner's own value; an upgrade must keep it.
        with open(file, "w") as open_file:
            open_file.write(text.replace('level = "info"', 'level = "warn"'))
        machine.do("systemctl", "restart", "muster")
        until(20, "the server", machine.active)

    def watchdog():
        for unit in ("muster", "muster-agent"):
            machine.do("mkdir", "-p", f"/run/systemd/system/{unit}.service.d")
            with open(machine.path(f"/run/systemd/system/{unit}.service.d/test.conf"), "w") as file:
                file.write("[Service]\nWatchdogSec=2s\nTimeoutAbortSec=2s\n")
            machine.do("systemctl", "daemon-reload")
            machine.do("systemctl", "restart", unit)
            until(20, unit, lambda: machine.active(unit))
            before = machine.show(unit, "MainPID")
            machine.do("kill", "-STOP", before)
            until(30, f"{unit} to come back", lambda: machine.active(unit, before))
            assert "Watchdog timeout" in machine.journal(unit)
            assert machine.show(unit, "NRestarts") == "1"
            machine.do("rm", "-r", f"/run/systemd/system/{unit}.service.d")
            machine.do("systemctl", "daemon-reload")
        assert known["console"].page("/agents")

    def upgrade():
        before = machine.show("muster", "MainPID")
        machine.do("dpkg", "-i", "/root/newer.deb")
        until(20, "the new program", lambda: machine.active("muster", before))
        version = machine.do("dpkg-query", "-W", "-f", "${Version}", "muster")
        assert version.endswith("-2"), version
        assert known["console"].page("/"), "the session and its owner are kept"
        assert 'level = "warn"' in machine.do("cat", "/etc/muster/muster.toml")
        assert command(machine, "agents.counts")["total"] >= 2

    def remove():
        machine.do("dpkg", "-r", "muster", "muster-agent")
        for unit in ("muster", "muster-agent"):
            assert machine.show(unit, "LoadState", "MainPID") == ["not-found", "0"] or not machine.active(unit)
        assert not machine.ask("pgrep", "-x", "muster").strip(), "it still runs"
        machine.do("test", "-d", "/var/lib/muster/store")
        machine.do("test", "-f", "/etc/muster/muster.toml")
        machine.do("dpkg", "-i", "/root/newer.deb")
        until(20, "the server", machine.active)
        assert known["console"].page("/"), "the data is found again"

    def purge():
        machine.do("dpkg", "-P", "muster", "muster-agent")
        left = machine.do(
            "find", "/", "-xdev", "(", "-path", "/proc", "-o", "-path", "/sys", "-o", "-path", "/root", "-o", "-path",
            "/var/log/journal", ")", "-prune", "-o", "-iname", "*muster*", "-print",
        ).split()
        assert not left, left
        owned = machine.do("find", "/", "-xdev", "(", "-nouser", "-o", "-user", "muster", "-o", "-user", "muster-agent", ")")
        assert not owned.strip(), owned
        assert "muster" not in machine.do("systemctl", "list-unit-files", "--no-pager")

    def one_file():
        machine.do("sh", "-c", "dpkg -x /root/server.deb /tmp/file && dpkg -x /root/agent.deb /tmp/file")
        for program, part in (("muster", ("server",)), ("muster-agent", ())):
            name = f"/tmp/file/usr/bin/{program}"
            before = machine.do("find", "/etc", "/usr/local", "/var/lib")
            assert f"copy this program to /usr/local/bin/{program}" in machine.do(name, "install", *part, "--dry-run")
            assert machine.do("find", "/etc", "/usr/local", "/var/lib") == before, "a dry run does nothing"
            machine.do(name, "install", *part)
            machine.do(name, "install", *part)
        machine.do("rm", "-r", "/tmp/file")
        until(20, "the server", machine.active)
        assert machine.show("muster-agent", "ConditionResult") == "no"
        url = machine.do("/usr/local/bin/muster", "setup-url").splitlines()[0]
        Console(url, "").page("/setup")
        machine.do("/usr/local/bin/muster", "uninstall")
        machine.do("/usr/local/bin/muster-agent", "uninstall")
        assert not machine.ask("pgrep", "-x", "muster").strip(), "it still runs"
        left = machine.do("find", "/etc", "/usr", "/var/lib", "-name", "muster*", "-maxdepth", "7").split()
        assert sorted(left) == ["/etc/muster", "/etc/muster-agent", "/etc/muster/muster.toml", "/var/lib/muster"], left

    def off():
        assert machine.end() == 0, "the machine did not end in order"

    for name, step in (
        ("install: the server runs at once", install),
        ("it has no rights and its folders are closed", confined),
        ("the units' exposure", exposed),
        ("there is no way out", no_way_out),
        ("set-up from the host, with the address that root is told", set_up),
        ("status, reload and who may ask", commanded),
        ("restart: ready at once, sessions kept", restart),
        ("the agent's package waits for a code, joins and needs it no more", join),
        ("a wrong configuration is named and not tried again", refuse_mistakes),
        ("the watchdog ends what hangs, and it comes back", watchdog),
        ("upgrade: data and configuration kept", upgrade),
        ("remove keeps what is the owner's", remove),
        ("purge leaves nothing", purge),
        ("one file installs itself and goes again", one_file),
    ):
        told.step(name, step)
        if told.failed:
            print(machine.journal("muster")[-3000:], machine.journal("muster-agent")[-1000:], flush=True)
            break
    if not told.failed:
        told.step("the machine ends in order", off)
    told.end()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
