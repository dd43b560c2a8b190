# What the checks are written with. Sourced by guest.sh.

uptime_of() { cut -d' ' -f1 /proc/uptime; }
last=$(uptime_of)

# check NAME COMMAND…: says PASS or FAIL with what the command printed, and the seconds since the last one.
check() {
  name=$1
  shift
  verdict=PASS
  out=$("$@" 2>&1) || { verdict=FAIL && failed=1; }
  now=$(uptime_of)
  [ $verdict = PASS ] && out= || out=": $(echo "$out" | tail -5 | tr '\n' ' ')"
  echo "$verdict $name$out ($(echo "$now $last" | awk '{ printf "%.1f", $1 - $2 }') s)"
  last=$now
}
is() { [ "$1" = "$2" ] || { echo "got '$1', expected '$2'"; return 1; }; }
has() { case $1 in *"$2"*) ;; *) echo "'$2' is not in: $1"; return 1 ;; esac; }
fails() { ! "$@"; }
# soon COMMAND…: waits for it to succeed, a minute at most.
soon() {
  deadline=$(($(date +%s) + 60))
  until "$@" >/dev/null 2>&1; do [ "$(date +%s)" -lt $deadline ] || { "$@"; return 1; }; sleep 0.2; done
}

api() { # METHOD PATH [JSON]
  curl -sS --max-time 60 --unix-socket /var/run/docker.sock -X "$1" ${3:+-H 'Content-Type: application/json' -d "$3"} "http://d$2"
}
# A field of the container's state. By the API: the CLI takes a second to start where the guest is emulated.
state() { api GET "/containers/$1/json" | grep -o '"State":{.*' | grep -o "\"$2\":[^,}]*" | head -1 | cut -d: -f2 | tr -d '"'; }
pid_of() { state "$1" Pid; }
cgroup_of() { sed 's|^0::|/sys/fs/cgroup|' "/proc/$(pid_of "$1")/cgroup"; }
main_pid() { systemctl show -p MainPID --value reactord.service; }
active() { systemctl is-active reactord.service; }
journal() { journalctl -u reactord.service -o cat --no-pager "$@"; }
# Another process than PID is the daemon, and it serves.
replaced() { [ "$(main_pid)" != "$1" ] && active && api GET /_ping; }
is_running() { is "$(state "$1" Running)" true; }
same_process() { is "$(state "$1" Pid)" "$2" && is_running "$1" && [ -e "/proc/$2/fd/0" ]; }
# The numbers that a counting container wrote are all there, in order.
no_gap() { docker logs "$1" 2>&1 | awk 'NR > 1 && $1 != last + 1 { print "after " last " comes " $1; exit 1 } { last = $1 } END { if (NR < 2) exit 1 }'; }
lines_of() { docker logs "$1" | wc -l; }
longer() { [ "$(lines_of "$1")" -gt "$2" ]; }
grows() { before=$(lines_of "$1"); soon longer "$1" "$before"; }
configure() { # JSON: becomes daemon.json
  mkdir -p /etc/docker && echo "$1" >/etc/docker/daemon.json
}
COUNT='i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done'
