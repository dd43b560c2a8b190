# The service: its log, reload, restarts of every kind with containers running.
check 'a container logs to the journal' docker run --name scribe --log-driver journald --log-opt tag=noted box /bin/echo through-the-journal
check 'docker logs reads what went to the journal' is "$(docker logs scribe)" through-the-journal
check 'the journal has it by the container' is "$(journalctl -o cat --no-pager CONTAINER_NAME=scribe CONTAINER_TAG=noted)" through-the-journal
docker rm scribe >/dev/null
check "the daemon's own log is in the journal" has "$(journal)" serving
check 'its lines have a priority' sh -c "journalctl -u reactord.service -p 6..6 -o cat --no-pager | grep serving"
check 'and no prefix or time of their own' fails sh -c "journalctl -u reactord.service -o cat --no-pager | grep -E '^(<|[0-9]{4}-)'"
check 'they are under the name of the program' is "$(journalctl -u reactord.service -o json --no-pager -g serving | grep -o '"SYSLOG_IDENTIFIER":"[^"]*"' | sort -u)" '"SYSLOG_IDENTIFIER":"reactord"'

check 'their fields can be asked for' has "$(journalctl -o cat --no-pager _SYSTEMD_UNIT=reactord.service 'REACTORD_HOSTS=["fd://"]')" serving

labels() { has "$(api GET /info)" "\"Labels\":$1"; }
since=$(date +%s)
configure '{"labels": ["color=blue"]}'
check 'a reload' systemctl reload reactord.service
check 'takes daemon.json over' soon labels '["color=blue"]'
check 'and is an event' has "$(docker events --since "$since" --until 0s --filter type=daemon --format '{{.Action}}')" reload
configure '{"labels": ["color=red"], "no-such-key": 1}'
systemctl reload reactord.service
check 'a bad file is named in the journal' soon sh -c 'journalctl -u reactord.service -p 3..3 -o cat --no-pager | grep no-such-key'
check 'and changes nothing' labels '["color=blue"]'
configure '{}'

docker run -d --name plain box /bin/sh -c "$COUNT" >/dev/null
counter=$(pid_of plain)

mkdir -p /run/systemd/system/reactord.service.d
printf '[Service]\nWatchdogSec=4\nTimeoutStopSec=2\n' >/run/systemd/system/reactord.service.d/quick.conf
configure '{"live-restore": true}'
systemctl daemon-reload
systemctl reload reactord.service
restoring() { has "$(api GET /info)" '"LiveRestoreEnabled":true'; }
check 'live-restore is taken over' soon restoring
daemon=$(main_pid)
check 'a restart with live-restore' systemctl restart reactord.service
check 'is another process' replaced "$daemon"
check 'containers went on' same_process plain "$counter"
check 'their log has no gap' no_gap plain
check 'and it is still read' grows plain
daemon=$(main_pid)
restarts=$(systemctl show -p NRestarts --value reactord.service)
kill -STOP "$daemon"
check 'a daemon that hangs is replaced (WatchdogSec)' soon replaced "$daemon"
check 'systemd says it was the watchdog' has "$(journal)" 'Watchdog timeout'
check 'systemd started it once' is "$(systemctl show -p NRestarts --value reactord.service)" $((restarts + 1))
check 'containers went on through it' same_process plain "$counter"
check 'their log has no gap after it' no_gap plain

check 'a second daemon is refused' sh -c 'reactord -H unix:///run/two.sock --exec-root /run/two --pidfile /run/two.pid 2>&1 | grep "another daemon is using"'

# TimeoutStopSec is 2 s: without EXTEND_TIMEOUT_USEC systemd would kill the daemon before the deaf one's 5 s are over.
configure '{}'
systemctl reload reactord.service
docker run -d --name always --restart always box /bin/sleep 100000 >/dev/null
docker run -d --name deaf --stop-timeout 5 box /bin/sh -c "trap '' TERM; while :; do sleep 0.2; done" >/dev/null
check 'a stop waits for containers beyond TimeoutStopSec' systemctl stop reactord.service
check 'and ends well' is "$(systemctl show -p Result --value reactord.service)" success
check 'no container is left' fails pgrep -f containerd-shim-runc-v2
check 'it starts' systemctl start reactord.service
check 'the deaf one was killed' is "$(state deaf ExitCode)" 137
check 'one without a policy stays stopped' is "$(state plain Running)" false
check 'one with a policy comes back' soon is_running always
docker rm -f deaf plain always >/dev/null
rm -r /run/systemd/system/reactord.service.d
systemctl daemon-reload
