check 'the guest was rebooted' fails is "$(cat boot)" "$(cat /proc/sys/kernel/random/boot_id)"
check 'the service came with the boot' soon active
check 'restart: always came back' soon is_running always
check 'restart: unless-stopped came back' soon is_running steady
check 'its port answers' is "$(curl -sS --retry 10 --retry-connrefused --max-time 30 http://127.0.0.1:8082/)" open
check 'one that was stopped by hand did not' is "$(state stopped Running)" false
check 'nor one without a policy' is "$(state mortal Running)" false
check 'a volume kept what was in it' is "$(docker run --rm -v kept:/kept box /bin/cat /kept/file)" remembered
check 'the journal of facts goes on' has "$(docker events --since 1h --until 0s --filter container=mortal --format '{{.Action}}' | tr '\n' ' ')" 'create start'
docker rm -f mortal stopped >/dev/null
