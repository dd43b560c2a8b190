"""What programs do with docker-py. Says "all is well", or where it is not."""
import io
import sys
import tarfile
import time

import docker

image = sys.argv[1]
client = docker.from_env()


def check(what, got, wanted):
    if got != wanted:
        raise SystemExit(f"{what}: wanted {wanted!r}, got {got!r}")


check("ping", client.ping(), True)
check("version", client.version()["Os"], "linux")
check("run", client.containers.run(image, "echo hello", remove=True), b"hello\n")
try:
    client.containers.run(image, ["sh", "-c", "echo bad >&2; exit 4"], remove=True)
    raise SystemExit("a failing run did not fail")
except docker.errors.ContainerError as error:
    check("failing run", (error.exit_status, error.stderr), (4, b"bad\n"))
try:
    client.images.get("not-there")
    raise SystemExit("an absent image was found")
except docker.errors.ImageNotFound:
    pass

box = client.containers.run(
    image, ["sh", "-c", "echo logged; exec sleep 100"], name="py-box", detach=True, labels={"sdk": "python"}, environment={"A": "1"}
)
box.reload()
check("status", box.status, "running")
check("list", [found.name for found in client.containers.list(filters={"label": "sdk=python"})], ["py-box"])
check("exec", tuple(box.exec_run("sh -c 'echo $A; exit 2'")), (2, b"1\n"))
code, output = box.exec_run(["sh", "-c", "echo out; echo err >&2"], demux=True)
check("exec, apart", (code, output), (0, (b"out\n", b"err\n")))
_, stream = box.exec_run(["sh", "-c", "echo a; echo b"], stream=True)
check("exec, streamed", b"".join(stream), b"a\nb\n")
_, terminal = box.exec_run(["cat"], stdin=True, socket=True, tty=True)
terminal._sock.sendall(b"typed\n")
received = b""
while b"typed\r\n" not in received:
    received += terminal._sock.recv(4096)
terminal.close()
for line in box.logs(stream=True, follow=True):
    check("logs", line, b"logged\n")
    break

archive = io.BytesIO()
with tarfile.open(fileobj=archive, mode="w") as tar:
    entry = tarfile.TarInfo("note")
    entry.size = 4
    tar.addfile(entry, io.BytesIO(b"text"))
check("put", box.put_archive("/tmp", archive.getvalue()), True)
bits, stat = box.get_archive("/tmp/note")
with tarfile.open(fileobj=io.BytesIO(b"".join(bits))) as tar:
    check("get", (stat["name"], tar.extractfile("note").read()), ("note", b"text"))

check("stats", "cpu_stats" in box.stats(stream=False), True)
check("top", "sleep" in str(box.top()["Processes"]), True)
box.pause()
box.unpause()
box.stop(timeout=0)
check("exit code", box.wait()["StatusCode"], 137)
box.remove()

network = client.networks.create("py-net", driver="bridge")
volume = client.volumes.create("py-volume")
mounted = client.containers.run(image, "sh -c 'echo kept > /data/file; cat /data/file'", network="py-net", volumes={"py-volume": {"bind": "/data", "mode": "rw"}}, remove=True)
check("volume", mounted, b"kept\n")
volume.remove()
network.remove()

until = int(time.time()) + 1
past = [event["Action"] for event in client.events(since=0, until=until, decode=True, filters={"container": "py-box", "event": ["start", "die"]})]
check("events", past, ["start", "die"])
print("all is well")
