# A newer package over a running one.
docker run -d --name counter -p 8081:80 box /bin/sh -c "$COUNT" >/dev/null
counter=$(pid_of counter)
daemon=$(main_pid)
since=$(date +%s.%N)
check 'a newer package installs' dpkg -i newer.deb
check 'it is the newer one' is "$(dpkg-query -W -f '${Version}' reactord)" "$(dpkg-deb -f newer.deb Version)"
check 'the daemon is replaced' soon replaced "$daemon"
check 'it runs the new files' fails sh -c "readlink /proc/$(main_pid)/exe | grep deleted"
check 'the container went on' same_process counter "$counter"
check 'nothing happened to it' is "$(docker events --since "$since" --until 0s --filter type=container --format '{{.Action}}' | grep -v exec_)" ''
check 'its log has no gap' no_gap counter
check 'and it is still read' grows counter
check 'it takes commands' is "$(docker exec counter /bin/echo here)" here
docker rm -f counter >/dev/null
