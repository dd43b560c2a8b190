# Health, networks and restart policies.
docker run -d --name sick --health-cmd 'test -e /tmp/well' --health-interval 1s --health-retries 1 --health-timeout 20s box /bin/sleep 100000 >/dev/null
healthy() { has "$(api GET /containers/sick/json)" "\"Health\":{\"Status\":\"$1\""; }
check 'a failing probe makes it unhealthy' soon healthy unhealthy
docker exec sick /bin/sh -c 'echo >/tmp/well'
check 'a passing one makes it healthy' soon healthy healthy
docker rm -f sick >/dev/null

docker network create --subnet 10.77.0.0/24 street >/dev/null
docker run -d --name shop --network street -p 8080:80 box /bin/sh -c 'echo open >/tmp/index.html; exec httpd -f -p 80 -h /tmp' >/dev/null
check 'a published port answers on the loopback' is "$(curl -sS --retry 10 --retry-connrefused --max-time 30 http://127.0.0.1:8080/)" open
check 'it answers at its own address' is "$(curl -sS --max-time 30 "http://$(docker inspect --format '{{.NetworkSettings.Networks.street.IPAddress}}' shop)/")" open
check 'a neighbour finds it by name' is "$(docker run --rm --network street box /bin/wget -qO- http://shop/)" open
check 'the firewall has its port' has "$(nft list ruleset)" 8080
docker rm -f shop >/dev/null
check 'the port is closed with it' fails curl -sS --max-time 5 http://127.0.0.1:8080/
check 'the network is removed' docker network rm street

docker run -d --name stubborn --restart on-failure:1 box /bin/false >/dev/null
given_up() { has "$(api GET /containers/stubborn/json)" '"RestartCount":1' && is "$(state stubborn Status)" exited; }
check 'on-failure:1 tries once more' soon given_up
docker rm stubborn >/dev/null
docker run -d --name always --restart always box /bin/sh -c "trap 'exit 0' TERM; while :; do sleep 0.2; done" >/dev/null
first=$(pid_of always)
kill -9 "$first"
came_back() { is_running always && [ "$(pid_of always)" != "$first" ]; }
check 'always comes back as another process' soon came_back
docker rm -f always >/dev/null
