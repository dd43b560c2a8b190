#!/bin/sh
# Runs inside the guest, as root, at the end of each boot: all checks in order. One that ends in a reboot goes on with the next.
export DOCKER_HOST=unix:///var/run/docker.sock DOCKER_CONFIG=/var/lib/checks/cli DEBIAN_FRONTEND=noninteractive
export SYSTEMD_COLORS=0 HOME=/root PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
cd /var/lib/checks || exit 1
. ./lib.sh
mkdir -p done bin
# No command waits for ever.
printf '#!/bin/sh\nexec timeout -k 5 60 /usr/local/bin/docker "$@"\n' >bin/docker && chmod +x bin/docker
PATH=/var/lib/checks/bin:$PATH
for file in checks/*.sh; do
  [ -e "done/$(basename "$file")" ] && continue
  touch "done/$(basename "$file")" && sync
  echo "-- $(basename "$file" .sh) at $(cut -d. -f1 /proc/uptime) s"
  failed=
  . "./$file"
  [ -z "$failed" ] || journalctl -u reactord.service -o short-monotonic --no-pager -n 50
done
echo DONE
