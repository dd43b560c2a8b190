#!/bin/sh
# Runs inside the guest, as root, at the end of the boot: the package in a real systemd with cgroup v2.
export DOCKER_HOST=unix:///run/docker.sock DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin
check() { # name, command
  name=$1
  shift
  if out=$("$@" 2>&1); then echo "PASS $name"; else echo "FAIL $name: $(echo "$out" | tail -5 | tr '\n' ' ')"; fi
}
is() { [ "$1" = "$2" ] || { echo "got '$1', expected '$2'"; return 1; }; }
soon() { # a condition, for up to a minute
  i=0
  until "$@" >/dev/null 2>&1; do i=$((i + 1)); [ $i -lt 120 ] || { "$@"; return 1; }; sleep 0.5; done
}

check 'cgroup v2 is what this guest has' test -f /sys/fs/cgroup/cgroup.controllers
check 'the package installs' dpkg -i --force-depends /reactord.deb
check 'the service becomes active (Type=notify)' soon systemctl is-active reactord.service
check 'the socket is 0660 root:docker' is "$(stat -c '%a %U %G' /run/docker.sock)" '660 root docker'
check 'the CLI reaches it' docker version
check 'cgroup v2 is reported' is "$(docker info --format '{{.CgroupVersion}}')" 2

mkdir -p /tmp/root/bin && cp /bin/busybox /tmp/root/bin/ && for tool in sh sleep cat echo true; do ln -sf busybox /tmp/root/bin/$tool; done
check 'an image is imported' sh -c 'tar -C /tmp/root -c . | docker import - box'
check 'a container runs' is "$(docker run --rm box /bin/echo hello)" hello
check 'memory is limited in cgroup v2' sh -c 'id=$(docker run -d --memory 64m box /bin/sleep 1000) && cat $(find /sys/fs/cgroup -path "*$id*" -name memory.max | head -1) | grep -x 67108864; docker rm -f $id'
docker run -d --name lives --restart unless-stopped box /bin/sleep 100000 >/dev/null
pid=$(docker inspect --format '{{.State.Pid}}' lives)
check 'a container outlives a killed daemon' sh -c 'kill -9 $(systemctl show -p MainPID --value reactord.service)'
check 'systemd starts it again' soon docker inspect lives
check 'the container is the same process' is "$(docker inspect --format '{{.State.Pid}} {{.State.Running}}' lives)" "$pid true"
printf '{"labels": ["color=blue"]}' >/tmp/daemon.json && mkdir -p /etc/docker && cp /tmp/daemon.json /etc/docker/daemon.json
check 'a reload takes daemon.json' sh -c 'systemctl reload reactord.service && sleep 1 && docker events --since 1m --until 0s --filter type=daemon | grep reload'
rm -f /etc/docker/daemon.json
check 'an upgrade leaves containers running' sh -c "dpkg -i --force-depends /reactord.deb && for i in 1 2 3 4 5 6 7 8 9 10; do docker ps >/dev/null 2>&1 && break; sleep 1; done; [ \"\$(docker inspect --format '{{.State.Pid}}' lives)\" = $pid ]"
check 'the journal has its log' sh -c 'journalctl -u reactord.service -o cat | grep -q serving'
docker rm -f lives >/dev/null
check 'removal stops and disables it' sh -c 'dpkg -r reactord && ! systemctl is-active reactord.service && [ ! -S /run/docker.sock ]'
check 'no shim is left' sh -c '! pgrep -f containerd-shim-runc-v2'
echo DONE
