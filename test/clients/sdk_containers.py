"""Every method of docker-py's containers and of its lower API for containers and execs. Says "all is well", or where it is not."""
import io
import sys
import tarfile

import docker
from docker.api.container import ContainerApiMixin
from docker.api.exec_api import ExecApiMixin
from docker.models.containers import Container, ContainerCollection

image = sys.argv[1]
client = docker.from_env()
wanted, used = set(), set()


def watch(kind):
    """Notes the methods of a class as they are called."""
    for name, method in list(vars(kind).items()):
        if name.startswith("_") or not callable(method) or name == "model":
            continue
        full = f"{kind.__name__}.{name}"
        wanted.add(full)

        def noted(self, *args, _method=method, _full=full, **more):
            used.add(_full)
            return _method(self, *args, **more)

        setattr(kind, name, noted)


for kind in (Container, ContainerCollection, ContainerApiMixin, ExecApiMixin):
    watch(kind)


def check(what, got, wanted):
    if got != wanted:
        raise SystemExit(f"{what}: wanted {wanted!r}, got {got!r}")


def refused(what, status, call):
    try:
        call()
    except docker.errors.APIError as error:
        return check(what, error.status_code, status)
    raise SystemExit(f"{what}: it was not refused")


low = client.api
box = client.containers.create(
    image,
    ["sh", "-c", 'trap "exit 7" TERM; echo ready; while :; do usleep 20000; done'],
    name="py-first",
    tty=True,
    ports={"80/tcp": ("127.0.0.1", 8066)},
    labels={"sdk": "python"},
)
box.start()
for chunk in box.attach(stream=True, logs=True):
    check("attach", chunk, b"ready\r\n")
    break
box.resize(30, 100)
box.rename("py-second")
box.update(mem_limit=64 << 20, memswap_limit=-1)
box.reload()
check("inspect", (box.name, box.status, box.attrs["HostConfig"]["Memory"]), ("py-second", "running", 64 << 20))
check("labels", box.labels["sdk"], "python")
check("ports", box.ports["80/tcp"], [{"HostIp": "127.0.0.1", "HostPort": "8066"}])
check("port", low.port(box.id, 80), [{"HostIp": "127.0.0.1", "HostPort": "8066"}])
check("get", client.containers.get("py-second").id, box.id)
check("list", [found.id for found in client.containers.list(filters={"name": "py-second"})], [box.id])
check("containers", [found["Id"] for found in low.containers(filters={"status": "running"})], [box.id])
check("top", box.top(ps_args="-o pid,args")["Titles"], ["PID", "COMMAND"])
box.pause()
refused("exec in a paused one", 409, lambda: box.exec_run("true"))
box.unpause()

archive = io.BytesIO()
with tarfile.open(fileobj=archive, mode="w") as tar:
    entry = tarfile.TarInfo("note")
    entry.size = 4
    tar.addfile(entry, io.BytesIO(b"text"))
check("put", box.put_archive("/tmp", archive.getvalue()), True)
check("get archive", box.get_archive("/tmp/note")[1]["size"], 4)
check("diff", {"Path": "/tmp/note", "Kind": 1} in box.diff(), True)
check("export", len(b"".join(box.export())) > 100000, True)
made = box.commit("py-made", "1", message="by python", changes="ENV A=1")
check("commit", "A=1" in made.attrs["Config"]["Env"], True)
client.images.remove("py-made:1")

check("exec", tuple(box.exec_run(["sh", "-c", "id -u; exit 3"], user="5", workdir="/tmp", environment=["A=1"])), (3, b"5\n"))
exec_id = low.exec_create(box.id, "cat", stdin=True, tty=True)["Id"]
talk = low.exec_start(exec_id, tty=True, socket=True)
low.exec_resize(exec_id, 10, 20)
talk._sock.sendall(b"hi\n\x04")
heard = b""
while True:
    more = talk._sock.recv(4096)
    if not more:
        break
    heard += more
talk.close()
check("talk", b"hi\r\n" in heard, True)
check("exec's end", low.exec_inspect(exec_id)["ExitCode"], 0)
sample = next(box.stats(stream=True, decode=True))
check("stats", sample["name"], "/py-second")
check("logs", box.logs(tail=1, timestamps=False), b"ready\r\n")
box.stop(timeout=5)
check("stop", box.wait()["StatusCode"], 7)
box.restart(timeout=0)
box.kill(signal="SIGKILL")
check("kill", box.wait(condition="not-running")["StatusCode"], 137)
refused("kill of a stopped one", 409, box.kill)
box.remove(v=True)
refused("get of a removed one", 404, lambda: client.containers.get("py-second"))

reader = client.containers.create(image, "cat", name="py-reader", stdin_open=True)
socket = reader.attach_socket(params={"stdin": 1, "stream": 1, "stdout": 1})
reader.start()
socket._sock.sendall(b"line\n")
socket._sock.recv(4096)
socket.close()
reader.kill()
reader.wait()
check("run", client.containers.run(image, "echo hello"), b"hello\n")
config = low.create_container_config(image, ["true"], host_config=low.create_host_config(auto_remove=False),
                                     networking_config=low.create_networking_config({"bridge": low.create_endpoint_config()}))
low.create_container_from_config(config, "py-config")
check("prune", len(client.containers.prune()["ContainersDeleted"]), 3)
check("nothing is left", client.containers.list(all=True), [])

# Names by which a lower method is called with the same request.
missing = sorted(name for name in wanted - used if not name.startswith("ContainerApiMixin.create_container_config"))
check("methods without a case", missing, [])
print("all is well")
