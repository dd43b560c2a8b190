# The package on a host without Node and without dockerd.
check 'the guest has cgroup v2 and nothing else' is "$(stat -fc %T /sys/fs/cgroup)" cgroup2fs
check 'the guest has no Node' fails command -v node
check 'the guest has no docker group' fails getent group docker
check 'the package installs' dpkg -i reactord.deb
check 'the service becomes active' soon active
check 'it said so itself (Type=notify)' has "$(systemctl show -p Type -p StatusText reactord.service)" 'serving fd://'
check 'the service starts at boot' systemctl is-enabled reactord.service reactord.socket
check 'the socket is 0660 root:docker' is "$(stat -c '%a %U %G' /run/docker.sock)" '660 root docker'
check 'the docker CLI reaches it' docker version
check 'docker info tells of cgroup v2 and systemd' is "$(docker info --format '{{.CgroupVersion}} {{.CgroupDriver}}')" '2 systemd'
check 'docker info warns of nothing but the age of runc' sh -c 'told=$(docker info 2>&1) && ! echo "$told" | grep WARNING | grep -v "WARNING: runc"'
nobody() { setpriv --reuid 65534 --regid 65534 "$@" curl -sS --max-time 20 --unix-socket /var/run/docker.sock http://d/_ping; }
check 'a stranger may not speak to it' has "$(nobody --clear-groups 2>&1)" "Couldn't connect"
check 'a member of the group may' nobody --groups "$(getent group docker | cut -d: -f3)"
check 'the service is protected from the OOM killer' is "$(cat "/proc/$(main_pid)/oom_score_adj")" -500

mkdir -p root/bin root/tmp && cp /bin/busybox root/bin/
for tool in sh sleep cat echo true false dd mknod tail wget httpd nslookup ps mount; do ln -sf busybox "root/bin/$tool"; done
check 'an image is imported' sh -c 'tar -C root -c . | docker import - box'
check 'a container runs' is "$(docker run --rm box /bin/echo hello)" hello
check 'it runs under docker-default of AppArmor' is "$(docker run --rm box /bin/cat /proc/self/attr/current)" 'docker-default (enforce)'
check 'a privileged one does not' is "$(docker run --rm --privileged box /bin/cat /proc/self/attr/current)" unconfined
check 'the profile denies mounts' fails docker run --rm --cap-add SYS_ADMIN box /bin/mount -t tmpfs none /tmp
check 'the service stops' systemctl stop reactord.service
check 'its socket goes on' test -S /run/docker.sock
check 'a client starts it by the socket' docker version
check 'it is active again' soon active
