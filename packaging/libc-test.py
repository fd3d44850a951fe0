#!/usr/bin/env python3
"""Runs programs in bare Debian trees, and in a folder with nothing else in it, and asks the server for its first page.

    packaging/libc-test.py [--dynamic FILE] [--static FILE] RELEASE...

`--dynamic` is the packages' program (glibc 2.34 and newer), `--static` that of the tar. Each RELEASE (bookworm, trixie, …) is
made by debootstrap and kept in $TREES (default ~/.cache/muster). The static one also runs in an empty folder. Needs root.
"""

import argparse
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "tests"))
from _muster import Story, free_port, until  # noqa: E402

TREES = os.path.expanduser(os.environ.get("TREES", "~/.cache/muster"))


def tree(release):
    kept = os.path.join(TREES, f"bare-{release}.tar.zst")
    if not os.path.exists(kept):
        os.makedirs(TREES, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="muster-tree-") as made:
            subprocess.run(["debootstrap", "--variant=minbase", release, made], check=True, stdout=subprocess.DEVNULL)
            subprocess.run(f"rm -f {made}/var/cache/apt/archives/*.deb; tar -C {made} -c . | zstd -q -o {kept}.part", shell=True, check=True)
            os.rename(f"{kept}.part", kept)
    folder = tempfile.mkdtemp(prefix="muster-libc-")
    subprocess.run(f"zstd -dc {kept} | tar -C {folder} -x", shell=True, check=True)
    return folder


def awake(status):
    """Whether an agent speaks, however well it is: a busy machine has warnings."""
    agents = json.loads(status)["agents"]
    return agents["healthy"] + agents["warning"] + agents["critical"]


def serves(root, program):
    """Starts the server inside and reads its set-up page; gives the version that it says."""
    shutil.copy(program, f"{root}/muster")
    # In a mount namespace of its own: what is mounted there is never seen, nor removed, outside.
    mounts = 'for name in proc dev sys; do mount --rbind "/$name" "$0/$name"; done; exec chroot "$0" /muster "$@"'
    inside = ["unshare", "-m", "--propagation", "private", "sh", "-c", mounts, root]
    version = subprocess.run([*inside, "version"], capture_output=True, text=True, check=True).stdout.strip()
    http, mqtt = free_port(), free_port()
    line = [*inside, "serve", "--data", "/data", "--http", f"127.0.0.1:{http}", "--mqtt", f"127.0.0.1:{mqtt}"]
    # The server's own agent reaches it as `localhost` reaches it: through the libc's resolver, where there is one.
    server = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        said = []
        for text in server.stdout:
            said.append(text)
            if "Setup code" in text:
                break
        assert any("Setup code" in text for text in said), "".join(said)[-800:]
        code = re.search(r"Setup code\s+(\S+)", said[-1]).group(1)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
        )
        page = opener.open(f"https://127.0.0.1:{http}/setup?code={code}", timeout=10).read().decode()
        assert code in page
        status = [*inside, "status", "--data", "/data", "--json"]
        until(20, "this host's own agent", lambda: awake(subprocess.run(status, capture_output=True, text=True).stdout))
        # An agent tries for ever to reach the server that its code names. It must not end while the name is resolved.
        join = ["--join", "AAAA-AAAA-AAAA.00000000000000000000000000@localhost:1"]
        agent = subprocess.Popen([*inside, "agent", "--folder", "/a", *join], stderr=subprocess.PIPE, text=True)
        try:
            said = agent.stderr.readline()
            assert "no connection" in said, f"the agent says {said!r}, status {agent.poll()}"
        finally:
            agent.kill()
            agent.wait()
    finally:
        server.terminate()
        server.wait(15)
    return version


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--dynamic")
    arguments.add_argument("--static")
    arguments.add_argument("release", nargs="*")
    given = arguments.parse_args()
    if os.geteuid() != 0 or not (given.dynamic or given.static):
        sys.exit(__doc__)
    told = Story()
    for kind in ("dynamic", "static"):
        program = getattr(given, kind)
        for release in [*given.release, *(["nothing"] if kind == "static" else [])] if program else []:
            folder = tempfile.mkdtemp(prefix="muster-libc-") if release == "nothing" else tree(release)
            try:
                for name in ("proc", "dev", "sys"):
                    os.makedirs(f"{folder}/{name}", exist_ok=True)
                told.step(f"{kind} in {release}", lambda: print(f"        {serves(folder, program)}"))
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    told.end()


if __name__ == "__main__":
    main()
