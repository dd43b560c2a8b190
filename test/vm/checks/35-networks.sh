# What needs drivers that many kernels are built without: SCTP, macvlan, ipvlan and VLANs, with traffic in both families.
# The machine beyond is a namespace at the other end of lan0.
lan_up() {
  ip netns add peer
  ip link add lan0 type veth peer name eth0 netns peer
  ip addr add 198.51.100.1/24 dev lan0
  ip addr add 2001:db8:ff::1/64 dev lan0 nodad
  ip link set lan0 up
  in_peer sh -c 'ip link set lo up; ip addr add 198.51.100.53/24 dev eth0; ip addr add 2001:db8:ff::53/64 dev eth0 nodad; ip link set eth0 up'
}
in_peer() { nsenter --net=/run/netns/peer "$@"; }
# in_box CONTAINER COMMAND…: one of the guest, in the container's network.
in_box() { box=$1; shift; nsenter --net="/proc/$(pid_of "$box")/ns/net" "$@"; }
page_of() { echo "curl -gsS --retry 10 --retry-connrefused --max-time 30 'http://$1/cgi-bin/who'"; }
address() { docker inspect --format "{{.NetworkSettings.Networks.$2.IPAddress}}" "$1"; }
address6() { docker inspect --format "{{.NetworkSettings.Networks.$2.GlobalIPv6Address}}" "$1"; }
kept() { ip -o link | cut -d: -f2 | sort; find /run/netns /run/reactord -path '*netns/*' | sort; }

mkdir -p root/www/cgi-bin
cat >root/www/cgi-bin/who <<'END'
#!/bin/sh
address=${REMOTE_ADDR#[}
address=${address%]}
echo
echo "${address#::ffff:}"
END
chmod +x root/www/cgi-bin/who
for file in $(command -v socat) $(ldd "$(command -v socat)" | grep -o '/[^ ]*'); do cp --parents -L "$file" root; done
tar -C root -c . | docker import --change 'CMD ["/bin/httpd", "-f", "-p", "80", "-h", "/www"]' - web >/dev/null
lan_up
before=$(kept)

docker network create --ipv6 --subnet 10.81.0.0/24 --subnet fd81::/64 both >/dev/null
SERVE='socat SCTP4-LISTEN:9,fork SYSTEM:"echo from \$SOCAT_PEERADDR" & exec socat SCTP6-LISTEN:9,ipv6only=1,fork SYSTEM:"echo from \$SOCAT_PEERADDR"'
check 'a container publishes a port of SCTP' docker run -d --name caller --network both -p 9009:9/sctp web /bin/sh -c "$SERVE"
docker run -d --name other --network both web >/dev/null
inside_call() { soon nsenter --net="/proc/$(pid_of "$1")/ns/net" sh -c "timeout 10 socat -u -T 5 $2 - | grep 'from '"; }
peer_call() { soon nsenter --net=/run/netns/peer sh -c "timeout 10 socat -u -T 5 $1 - | grep -F '$2'"; }
check 'SCTP from another machine' peer_call SCTP4:198.51.100.1:9009 198.51.100.53
check 'SCTP from another machine, IPv6' peer_call SCTP6:[2001:db8:ff::1]:9009 2001:0db8:00ff
check 'SCTP from the host itself' soon sh -c "timeout 10 socat -u -T 5 SCTP4:198.51.100.1:9009 - | grep 'from '"
check 'SCTP from a neighbour' inside_call other SCTP4:10.81.0.1:9009
check 'SCTP from a neighbour, IPv6' inside_call other SCTP6:[fd81::1]:9009
check 'SCTP from the container itself' inside_call caller SCTP4:10.81.0.1:9009
taken() { docker run --rm -p "$1" web /bin/true 2>&1 | grep 'port is already allocated'; }
check 'a port of SCTP is taken for containers' taken 9009:99/sctp
socat SCTP4-LISTEN:9010 - >/dev/null 2>&1 </dev/zero &
holder=$!
check 'or by a program of the host' soon taken 9010:99/sctp
kill $holder
check 'and for programs of the host' sh -c "timeout 10 socat SCTP4-LISTEN:9009 - 2>&1 | grep 'Address already in use'"
docker rm -f caller other >/dev/null
check 'it is closed with the container' fails in_peer timeout 3 socat -u SCTP4:198.51.100.1:9009 -
docker network rm both >/dev/null

# lan NAME DRIVER PARENT OPTIONS…: a network on addresses of the machine beyond, with two containers, NAME-a and NAME-b.
lan() {
  name=$1 driver=$2 parent=$3; shift 3
  docker network create --driver "$driver" -o parent="$parent" --ipv6 "$@" "$name" >/dev/null &&
    for box in a b; do docker run -d --name "$name-$box" --network "$name" web >/dev/null || return 1; done
}
unlan() { docker rm -f "$1-a" "$1-b" >/dev/null && docker network rm "$1" >/dev/null; }
from_peer() { is "$(in_peer sh -c "$(page_of "$1")")" "$2"; }
from_box() { is "$(in_box "$1" sh -c "$(page_of "$2")")" "$3"; }
POOLS='--subnet 198.51.100.0/24 --ip-range 198.51.100.64/26 --gateway 198.51.100.53 --subnet 2001:db8:ff::/64 --ip-range 2001:db8:ff::100/120 --gateway 2001:db8:ff::53'
# talks NAME PEER PEER6: the container a is reached by the machine beyond and by b, in both families and by its name.
talks() {
  a=$(address "$1-a" "$1") a6=$(address6 "$1-a" "$1") b=$(address "$1-b" "$1") b6=$(address6 "$1-b" "$1")
  check "$1: the machine beyond reaches a container" from_peer "$a" "$2"
  check "$1: in IPv6 too" from_peer "[$a6]" "$3"
  check "$1: a container reaches the other" from_box "$1-b" "$a" "$b"
  check "$1: in IPv6 too" from_box "$1-b" "[$a6]" "$b6"
  check "$1: and by its name" has "$b $b6" "$(docker exec "$1-b" /bin/wget -qO- "http://$1-a/cgi-bin/who")"
  check "$1: which has an IPv6 address" sh -c "docker exec $1-b /bin/nslookup -type=aaaa $1-a | grep -F $a6"
}

check 'macvlan, bridge' lan street macvlan lan0 $POOLS
talks street 198.51.100.53 2001:db8:ff::53
check 'macvlan: the way out is the gateway' has "$(in_box street-a ip route; in_box street-a ip -6 route)" 'default via 2001:db8:ff::53'
check 'macvlan: a second network shares the parent' docker network create --driver macvlan -o parent=lan0 --subnet 10.82.0.0/24 second
check 'macvlan: not one that wants it alone' sh -c 'docker network create --driver macvlan -o parent=lan0 -o macvlan_mode=passthru third 2>&1 | grep "cannot use mode passthru"'
docker network rm second >/dev/null
unlan street
for mode in private vepa; do
  check "macvlan, $mode" lan $mode macvlan lan0 -o macvlan_mode=$mode $POOLS
  check "$mode: the machine beyond reaches a container" from_peer "$(address $mode-a $mode)" 198.51.100.53
  check "$mode: in IPv6 too" from_peer "[$(address6 $mode-a $mode)]" 2001:db8:ff::53
  check "$mode: containers do not reach each other" fails in_box $mode-b curl -sS --max-time 2 "http://$(address $mode-a $mode)/"
  unlan $mode
done
docker network create --driver macvlan -o parent=lan0 -o macvlan_mode=passthru --ipv6 $POOLS through >/dev/null
check 'macvlan, passthru' docker run -d --name only --network through web
check 'passthru: the machine beyond reaches the container' from_peer "$(address only through)" 198.51.100.53
check 'passthru: in IPv6 too' from_peer "[$(address6 only through)]" 2001:db8:ff::53
check 'passthru: there is no second one' fails docker run --rm --network through web /bin/true
docker rm -f only >/dev/null
check 'the network of the only one is removed' docker network rm through

check 'ipvlan, l2' lan flat ipvlan lan0 $POOLS
talks flat 198.51.100.53 2001:db8:ff::53
check 'ipvlan: a second network does not share the parent' sh -c 'docker network create --driver ipvlan -o parent=lan0 --subnet 10.82.0.0/24 second 2>&1 | grep "already using parent interface lan0"'
unlan flat

in_peer sh -c 'ip route add 10.83.0.0/16 via 198.51.100.1; ip route add fd83::/32 via 2001:db8:ff::1'
for mode in l3 l3s; do
  check "ipvlan, $mode" lan $mode ipvlan lan0 -o ipvlan_mode=$mode --subnet 10.83.1.0/24 --subnet fd83:0:1::/64
  talks $mode 198.51.100.53 2001:db8:ff::53
  check "$mode: the way out is the link" has "$(in_box $mode-a ip route; in_box $mode-a ip -6 route)" 'default dev eth0'
  unlan $mode
done
docker network create --driver ipvlan -o parent=lan0 -o ipvlan_mode=l3 --subnet 10.83.1.0/24 --subnet 10.83.2.0/24 routed >/dev/null
docker run -d --name one --network routed --ip 10.83.1.9 web >/dev/null
docker run -d --name two --network routed --ip 10.83.2.9 web >/dev/null
check 'l3: containers of two subnets reach each other' from_box one 10.83.2.9 10.83.1.9
docker rm -f one two >/dev/null
docker network rm routed >/dev/null

in_peer sh -c 'for id in 10 20; do ip link add link eth0 name eth0.$id type vlan id $id; ip addr add 192.0.2.$id/28 dev eth0.$id; ip addr add 2001:db8:$id::53/64 dev eth0.$id nodad; ip link set eth0.$id up; done'
check 'macvlan on a VLAN of a link' lan tagged macvlan lan0.10 --subnet 192.0.2.0/28 --gateway 192.0.2.10 --subnet 2001:db8:10::/64 --gateway 2001:db8:10::53
check 'the VLAN was made' has "$(ip -d link show lan0.10)" 'vlan protocol 802.1Q id 10'
talks tagged 192.0.2.10 2001:db8:10::53
docker network create --driver macvlan -o parent=lan0.10 --subnet 10.84.0.0/24 guest >/dev/null
unlan tagged
check 'the VLAN stays for another network' ip link show lan0.10
docker network rm guest >/dev/null
check 'and goes with the last' fails ip link show lan0.10
check 'ipvlan on a VLAN of a link' lan marked ipvlan lan0.20 --subnet 192.0.2.16/28 --gateway 192.0.2.20 --subnet 2001:db8:20::/64 --gateway 2001:db8:20::53
talks marked 192.0.2.20 2001:db8:20::53
systemctl stop reactord.service
ip link del lan0.20
check 'a daemon that comes back' systemctl start reactord.service
docker start marked-a >/dev/null
check 'makes a VLAN again that is gone' from_peer "$(address marked-a marked)" 192.0.2.20
unlan marked
check 'that VLAN goes too' fails ip link show lan0.20
check 'an id of a VLAN that cannot be' sh -c 'docker network create --driver macvlan -o parent=lan0.4095 wrong 2>&1 | grep "vlan id must be between 1-4094"'

for driver in macvlan ipvlan; do
  docker network create --driver $driver --ipv6 --subnet 10.85.0.0/24 --subnet fd85::/64 closed >/dev/null
  for box in a b; do docker run -d --name closed-$box --network closed web >/dev/null; done
  check "$driver without a parent: containers reach each other" from_box closed-b "$(address closed-a closed)" "$(address closed-b closed)"
  check "$driver without a parent: in IPv6 too" from_box closed-b "[$(address6 closed-a closed)]" "$(address6 closed-b closed)"
  check "$driver without a parent: there is no way out" is "$(in_box closed-a ip route show default)" ''
  unlan closed
done
check 'no link or namespace is left' is "$(kept)" "$before"
ip link del lan0
ip netns del peer
