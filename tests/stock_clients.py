"""Clients that nobody here wrote: mosquitto's and paho's, over TLS, with a secret and with a certificate."""

import json
import os
import queue
import ssl
import subprocess

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from _muster import Muster, Story, until

VERSIONS = {"5": paho.MQTTv5, "3.1.1": paho.MQTTv311}
story, muster = Story(), Muster("--no-agent")


def run(*words, seconds=20, text=None):
    """Runs a program to its end; status and what it printed."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=seconds, input=text)
    return done.returncode, done.stdout, done.stderr


class Device:
    """A name, a secret, and topics."""

    def __init__(self, name):
        made = muster.api("POST", "/agents/devices", {"name": name})
        self.id, self.secret, self.prefix = made["id"], made["secret"], made["topic_prefix"]

    def up(self, kind):
        return f"{self.prefix}/up/{kind}"

    def down(self, kind):
        return f"{self.prefix}/down/{kind}"

    def mosquitto(self, program, *words, login=None, **options):
        login = login or ("-u", self.id, "-P", self.secret)
        place = ("-h", "127.0.0.1", "-p", muster.mqtt, "--cafile", ca, "-i", self.id)
        return run(program, *place, *login, *words, **options)

    def events(self):
        return [e for e in muster.api("GET", "/events?limit=200")["items"] if e["agent"] == self.id]

    def last(self, name):
        series = muster.api("GET", f"/agents/{self.id}/metrics")
        items = series["items"] if isinstance(series, dict) else series
        return next((s["value"] for s in items if s["name"] == name), None)


class Paho:
    """One connection whose happenings stand in queues."""

    def __init__(self, device, version, will=None, **other):
        client_id, user = other.get("client_id", device.id), other.get("user", device.id)
        self.version = VERSIONS[version]
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=self.version, reconnect_on_failure=False)
        self.client.tls_set(ca, tls_version=ssl.PROTOCOL_TLS_CLIENT)
        self.client.username_pw_set(user, other.get("secret", device.secret))
        if will:
            self.client.will_set(will, json.dumps(FORGED), qos=1)
        self.answers, self.granted, self.sent, self.messages, self.gone = (queue.Queue() for _ in range(5))
        self.client.on_connect = lambda c, u, flags, reason, properties: self.answers.put(reason)
        self.client.on_subscribe = lambda c, u, mid, reasons, properties: self.granted.put(reasons)
        self.client.on_publish = lambda c, u, mid, reason, properties: self.sent.put(reason)
        self.client.on_message = lambda c, u, message: self.messages.put(message)
        self.client.on_disconnect = lambda c, u, flags, reason, properties: self.gone.put(reason)

    def __enter__(self):
        self.client.connect("127.0.0.1", muster.mqtt, keepalive=30)
        self.client.loop_start()
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()

    def welcome(self):
        """Whether the server let it in."""
        return self.first(self.answers)

    def first(self, wanted):
        """Whether the answer comes and is a yes; the end of the connection is a no."""
        def ask():
            if not wanted.empty():
                reason = wanted.get()
                reasons = reason if isinstance(reason, list) else [reason]
                return "yes" if not any(r.is_failure for r in reasons) else "no"
            return None if self.gone.empty() else "no"

        return until(10, "an answer", ask) == "yes"

    def connected(self):
        assert self.welcome(), "refused"
        return self

    def subscribe(self, topic, qos=1):
        self.client.subscribe(topic, qos)
        return self.first(self.granted)

    def publish(self, topic, body, retain=False):
        properties = Properties(PacketTypes.PUBLISH) if self.version == paho.MQTTv5 else None
        self.client.publish(topic, json.dumps(body), qos=1, retain=retain, properties=properties)
        return self.first(self.sent)


FORGED = {"events": [{"id": "forged", "name": "forged", "text": "forged"}]}


def make_key():
    csrf = muster.csrf("/people")
    headers = {"Content-Type": "application/json", "X-CSRF-Token": csrf, "Origin": muster.base}
    body = json.dumps({"name": "story", "role": "owner"}).encode()
    status, _, text = muster.request("POST", "/api/v1/identity/keys", body, headers)
    assert status == 200, text
    muster.key = json.loads(text)["text"]
    return muster.api("GET", "/agents") is not None


def mosquitto_reports():
    body = json.dumps({"values": {"boiler.celsius": 71.5}})
    for number, version in enumerate(["mqttv5", "mqttv311"]):
        words = ("-V", version, "-q", 1, "-t", device.up("metrics"), "-m", body.replace("71.5", f"71.{number}"))
        status, _, error = device.mosquitto("mosquitto_pub", *words)
        assert status == 0, error
        # PUBACK means that it is on the disk, so it is there at once.
        assert device.last("boiler.celsius") == float(f"71.{number}"), device.last("boiler.celsius")


def paho_reports(version):
    with Paho(device, version) as client:
        client.connected()
        assert client.publish(device.up("hello"), {"hostname": "press"}), "hello was not taken"
        assert client.publish(device.up("metrics"), {"values": {"paho.version": float(version[0])}})
        assert client.publish(device.up("events"), {"events": [{"id": f"e-{version}", "name": "door.open", "text": "door"}]})
    assert device.last("paho.version") == float(version[0])
    until(10, "the event", lambda: any(e["id"] == f"e-{version}" for e in device.events()))


def task_by_hand():
    task = muster.api("POST", "/tasks", {"agent": device.id, "work": {"kind": "ping"}})
    assert task["state"] == "queued", task["state"]
    status, printed, error = device.mosquitto("mosquitto_sub", "-q", 1, "-t", device.down("task"), "-C", 1, "-W", 40, seconds=60)
    assert status == 0, error
    assert json.loads(printed)["task"] == task["id"], printed
    report = json.dumps({"task": task["id"], "state": "succeeded", "output": "pong\n", "exit": 0})
    for _ in range(2):  # twice changes nothing
        status, _, error = device.mosquitto("mosquitto_pub", "-q", 1, "-t", device.up("task"), "-m", report)
        assert status == 0, error
    view = muster.api("GET", f"/tasks/{task['id']}")
    state = view.get("state") or view["task"]["state"]
    assert (state, view["output"]) == ("succeeded", "pong\n"), view


class Certified(Device):
    """A device whose key openssl made and that joined by MQTT alone."""

    def __init__(self, name):
        folder = muster.folder
        key, request, certificate = (os.path.join(folder, f"device.{kind}") for kind in ("key", "csr", "pem"))
        status, _, error = run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
        assert status == 0, error
        status, _, error = run("openssl", "req", "-new", "-key", key, "-subj", f"/CN={name}", "-out", request)
        assert status == 0, error
        code = muster.api("POST", "/agents/join-codes", {"labels": {}})["code"]
        body = json.dumps({"request": open(request).read(), "hello": {"hostname": name}})
        status, printed, error = run(
            "mosquitto_rr", "-h", "127.0.0.1", "-p", muster.mqtt, "--cafile", ca, "-V", "mqttv5", "-i", "join-press", "-u", "join",
            "-P", code.split(".")[0], "-q", 1, "-t", "muster/v1/join/up/request", "-e", "muster/v1/join/down/answer",
            "-m", body, "-W", 20,
        )
        assert status == 0, error
        answer = json.loads(printed)
        assert answer["answer"] == "joined", answer
        with open(certificate, "w") as file:
            file.write(answer["certificate"])
        self.id, self.secret, self.prefix = answer["agent"], "", f"muster/v1/{answer['tenant']}/{answer['agent']}"
        self.login = ("--cert", certificate, "--key", key)

    def report(self):
        body = json.dumps({"values": {"press.bar": 6.25}})
        status, _, error = self.mosquitto("mosquitto_pub", "-q", 1, "-t", self.up("metrics"), "-m", body, login=self.login)
        assert status == 0, error
        assert self.last("press.bar") == 6.25
        # The certificate says who it is; another's name does not pass.
        words = ("-q", 1, "-t", device.up("metrics"), "-m", body)
        status, _, _ = device.mosquitto("mosquitto_pub", *words, login=self.login)
        assert status != 0 and device.last("press.bar") is None, "spoke for another"


def subscriptions(version):
    other, own = victim, mallory
    filters = [
        "#", "+", "+/#", "muster/#", "muster/v1/+/+/down/+", "$SYS/#", "$SYS/broker/clients/total", f"{own.prefix}/#",
        "$share/g/#", f"$share/g/{other.down('task')}", f"$share/g/{own.down('+')}", other.down("task"), other.down("+"),
        f"{other.prefix}/#", other.up("events"), own.up("events"), "muster/v1/join/down/answer", "muster/v1/join/up/request",
    ]
    task = muster.api("POST", "/tasks", {"agent": other.id, "work": {"kind": "ping"}})
    with Paho(other, version) as listener:
        listener.connected()
        for each in filters:
            with Paho(own, version) as client:
                client.connected()
                assert not client.subscribe(each), f"subscribed to {each}"
        with Paho(own, version) as client:
            client.connected()
            client.client.subscribe([(each, 1) for each in filters])
            assert listener.subscribe(other.down("task")), "the owner of the topic may not subscribe"
            listener.publish(other.up("hello"), {"hostname": "victim"})  # what waits for it comes at once
            got = until(15, "the task", lambda: None if listener.messages.empty() else listener.messages.get())
            assert json.loads(got.payload)["task"] == task["id"]
            assert client.messages.empty(), f"{client.messages.get().topic} was heard"
    muster.api("POST", f"/tasks/{task['id']}/cancel")


def mosquitto_hears_nothing():
    for each in ("#", "$SYS/#", victim.down("task"), f"$share/g/{victim.down('task')}"):
        _, printed, _ = mallory.mosquitto("mosquitto_sub", "-t", each, "-C", 1, "-W", 2)
        assert printed == "", f"{each}: {printed}"


def forgeries(version):
    topics = [
        victim.up("events"), victim.up("metrics"), victim.down("task"), mallory.down("task"), mallory.up("other"),
        "muster/v1/join/up/request", "$SYS/x", "site/x", mallory.up("events").upper(),
    ]
    for topic in topics:
        with Paho(mallory, version) as client:
            client.connected()
            assert not client.publish(topic, FORGED), f"published to {topic}"
    with Paho(mallory, version) as client:
        client.connected()
        assert not client.publish(mallory.up("events"), FORGED, retain=True), "retained"
    assert not victim.events() and not any(e["id"] == "forged" for e in mallory.events()), "something was taken"


def impostors(version):
    with Paho(victim, version) as held:
        held.connected()
        attempts = {
            "another's client id with the own name": dict(client_id=victim.id),
            "another's name with the own secret": dict(client_id=victim.id, user=victim.id),
            "another's name below the own client id": dict(user=victim.id),
            "no secret": dict(secret=""),
            "the join user without a code, then another's topic": dict(client_id=victim.id, user="join", secret="x"),
        }
        for what, other in attempts.items():
            with Paho(mallory, version, **other) as client:
                if client.welcome():
                    assert not client.publish(victim.up("events"), FORGED), what
        with Paho(mallory, version, will=victim.up("events")) as client:
            assert not client.welcome(), "a will on another's topic"
        assert held.gone.empty(), "the victim lost its session"
        assert held.publish(victim.up("metrics"), {"values": {"still.here": 1}}), "the victim is not served"
    assert not victim.events(), "something was taken"


def retired():
    """Whoever is retired loses the session at once and does not come back."""
    with Paho(mallory, "5") as client:
        client.connected()
        muster.api("POST", f"/agents/{mallory.id}/retire")
        until(5, "the session to end", lambda: not client.gone.empty())
    with Paho(mallory, "5") as client:
        assert not client.welcome()


story.step("set up over HTTPS as a browser does", muster.set_up)
ca = story.step("the authority of the settings page has the printed fingerprint, and verifies", muster.trust)
story.step("an API key is made", make_key)
device = story.step("a device is made by REST", lambda: Device("press-07"))
if not (ca and device):
    story.end()
story.step("mosquitto_pub reports metrics, MQTT 5 and 3.1.1", mosquitto_reports)
for version in VERSIONS:
    story.step(f"paho reports, MQTT {version}", lambda: paho_reports(version))
story.step("mosquitto_sub takes a task, mosquitto_pub reports it", task_by_hand)
certified = story.step("openssl makes a key, mosquitto_rr joins", lambda: Certified("press-08"))
if certified:
    story.step("mosquitto_pub reports with the certificate", certified.report)
mallory, victim = Device("mallory"), Device("victim")
story.step("mosquitto_sub hears nothing that is another's", mosquitto_hears_nothing)
for version in VERSIONS:
    story.step(f"no foreign subscription is granted, MQTT {version}", lambda: subscriptions(version))
    story.step(f"nothing foreign or retained is taken, MQTT {version}", lambda: forgeries(version))
    story.step(f"nobody passes as another, MQTT {version}", lambda: impostors(version))
story.step("a retired device is cut off", retired)


def ends_well():
    errors = [line for line in muster.logged().splitlines() if "ERROR" in line]
    assert not errors, errors[:3]
    assert muster.stop() == 0, "the server did not end well"


story.step("the server ends in order and has logged no error", ends_well)
story.end()
