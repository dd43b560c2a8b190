# Removal with containers running, then purge.
left() { # mounts, links, rules, namespaces and processes of ours
  { cat /proc/self/mounts; ip -o link; nft list tables; ps -eo args; find /run/reactord* /run/netns -mindepth 1 2>/dev/null; } | grep -E 'reactord|containerd-shim|docker0|veth|overlay' | grep -v grep
}
check 'something would be found' left
check 'the package is removed' dpkg -r reactord
check 'the service is gone' fails is "$(systemctl show -p LoadState --value reactord.service)" loaded
check 'nothing listens' fails test -e /run/docker.sock
check 'nothing of ours is left running or mounted' is "$(left)" ''
check 'no cgroup of a container is left' is "$(find /sys/fs/cgroup -name 'docker-*.scope')" ''
check 'the data is kept' test -e /var/lib/reactord/reactord.db
check 'the package comes back' dpkg -i newer.deb
check 'with its containers' soon is_running steady
configure '{"live-restore": true}'
systemctl reload reactord.service
check 'purge, with live-restore' dpkg -P reactord
check 'the data goes' fails test -e /var/lib/reactord
check 'nothing of ours is left then either' is "$(left)" ''
check 'no file of the package is left' is "$(find / -xdev -name '*reactord*' -not -path '/var/lib/checks/*' -not -path '/var/log/*' -not -path '/var/lib/dpkg/*' 2>/dev/null)" ''
