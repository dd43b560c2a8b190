# Limits, their change, stats, the freezer and devices as cgroup v2 has them.
check 'a container with every limit starts' docker run -d --name limited --memory 64m --memory-reservation 32m --memory-swap 96m \
  --cpus 0.5 --cpu-shares 512 --cpuset-cpus 0 --pids-limit 50 --device-write-bps /dev/vda:1mb --device-read-iops /dev/vda:100 \
  box /bin/sleep 100000
group=$(cgroup_of limited)
first=$(pid_of limited)
value() { cat "$group/$1"; }
check 'its cgroup is a scope of systemd' has "$group" "system.slice/docker-$(docker inspect --format '{{.Id}}' limited).scope"
check 'memory.max' is "$(value memory.max)" 67108864
check 'memory.low' is "$(value memory.low)" 33554432
check 'memory.swap.max' is "$(value memory.swap.max)" 33554432
check 'cpu.max' is "$(value cpu.max)" '50000 100000'
check 'cpu.weight' is "$(value cpu.weight)" 20
check 'cpuset.cpus' is "$(value cpuset.cpus)" 0
check 'pids.max' is "$(value pids.max)" 50
check 'io.max' has "$(value io.max)" 'rbps=max wbps=1048576 riops=100 wiops=max'
check 'the container has a cgroup namespace of its own' is "$(docker exec limited /bin/cat /proc/self/cgroup)" 0::/
check 'it sees its own limit, in cgroup2' is "$(docker exec limited /bin/cat /sys/fs/cgroup/memory.max)" 67108864

check 'inspect tells its AppArmor profile' has "$(api GET /containers/limited/json)" '"AppArmorProfile":"docker-default"'

check 'docker update' docker update --memory 128m --memory-swap 160m --memory-reservation 48m --cpus 1.5 --cpu-shares 1024 --pids-limit 70 limited
check 'memory.max is changed live' is "$(value memory.max)" 134217728
check 'memory.low is changed live' is "$(value memory.low)" 50331648
check 'memory.swap.max is changed live' is "$(value memory.swap.max)" 33554432
check 'cpu.max is changed live' is "$(value cpu.max)" '150000 100000'
check 'cpu.weight is changed live' is "$(value cpu.weight)" 39
check 'pids.max is changed live' is "$(value pids.max)" 70
check 'what was not updated stays' has "$(value io.max)" 'wbps=1048576 riops=100'
check 'systemd knows the changed limit' is "$(systemctl show -p MemoryMax --value "$(basename "$group")")" 134217728
check 'an update is no restart' same_process limited "$first"

docker exec limited /bin/dd if=/dev/zero of=/written bs=64k count=16 conv=fsync 2>/dev/null
before=$(awk '/^usage_usec/ { print $2 }' "$group/cpu.stat")
stats=$(api GET '/containers/limited/stats?stream=false&one-shot=true')
after=$(awk '/^usage_usec/ { print $2 }' "$group/cpu.stat")
number() { echo "$stats" | grep -o "\"$1\":[0-9]*" | head -1 | cut -d: -f2; }
check 'stats: the memory limit' has "$stats" '"limit":134217728'
check 'stats: memory.stat of v2' sh -c "echo '$stats' | grep '\"anon\":[1-9]' | grep '\"inactive_file\":' | grep -v max_usage"
check 'stats: memory.current' test "$(number usage)" -gt 0
check 'stats: cpu.stat' sh -c "[ $(number total_usage) -ge ${before}000 ] && [ $(number total_usage) -le ${after}000 ]"
check 'stats: pids' has "$stats" '"pids_stats":{"current":1,"limit":70}'
written=$(echo "$stats" | grep -o '"op":"write","value":[0-9]*' | head -1 | cut -d: -f3)
check 'stats: io.stat has what was written' test "$written" -ge 1048576
check 'docker stats shows them' has "$(docker stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' limited)" '/ 128MiB 1'

check 'docker pause' docker pause limited
check 'the freezer of v2 has it' sh -c "grep -x 'frozen 1' $group/cgroup.events && grep -x 1 $group/cgroup.freeze"
check 'its state is paused' is "$(state limited Status)" paused
check 'docker unpause' docker unpause limited
check 'the freezer lets go' sh -c "grep -x 'frozen 0' $group/cgroup.events"
check 'it goes on as the same process' same_process limited "$first"

check 'docker top' has "$(docker top limited)" '/bin/sleep 100000'
check 'docker top with columns' is "$(docker top limited -o pid,comm | tail -1 | tr -s ' ' | sed 's/ *$//')" "$first sleep"
check 'devices are denied by the cgroup' has "$(docker exec limited /bin/sh -c 'mknod /tmp/disk b 254 0 && dd if=/tmp/disk of=/dev/null count=1' 2>&1)" "can't open '/tmp/disk': Operation not permitted"
check 'a device that is given is allowed' docker run --rm --device /dev/vda:/dev/vda:r box /bin/dd if=/dev/vda of=/dev/null count=1
docker rm -f limited >/dev/null
check 'the scope goes with the container' fails test -e "$group"

told=$(docker run --rm --memory 64m --oom-kill-disable --memory-swappiness 10 --blkio-weight 300 box /bin/echo ran 2>&1)
check 'what v2 does not have is discarded' has "$told" 'Memory swappiness discarded.'
check 'with a word about each' has "$told" 'OomKillDisable discarded.'
check 'and the container runs, with a weight of v2' has "$told" ran
since=$(date +%s)
docker run --name greedy --memory 32m --memory-swap 32m box /bin/tail /dev/zero >/dev/null 2>&1
check 'one that takes too much memory is killed' is "$(state greedy OOMKilled) $(state greedy ExitCode)" 'true 137'
check 'the event oom tells it' has "$(docker events --since "$since" --until 0s --filter container=greedy --format '{{.Action}}' | tr '\n' ' ')" 'oom die'
check 'a slice of its own' sh -c "docker run --rm --cgroup-parent checks.slice --cgroupns host box /bin/cat /proc/self/cgroup | grep -x '0::/checks.slice/docker-.*.scope'"
docker rm greedy >/dev/null
