#!/bin/sh
# The life of a container, told by curl.
set -eu

image=${1:-busybox:latest}
host=${DOCKER_HOST:-unix:///var/run/docker.sock}
case $host in
  unix://*) socket=${host#unix://} ;;
  *) echo "this example speaks to a unix socket, not to $host" >&2; exit 1 ;;
esac

api() {
  method=$1 path=$2
  shift 2
  curl --silent --show-error --fail-with-body --unix-socket "$socket" --request "$method" "http://localhost/v1.51$path" "$@"
}

echo "== the daemon"
api GET /version
echo

echo "== pull $image"
api POST "/images/create?fromImage=${image%:*}&tag=${image##*:}" | tail -n 1

echo "== create and start"
id=$(api POST "/containers/create" --header 'Content-Type: application/json' --data \
  "{\"Image\": \"$image\", \"Cmd\": [\"sh\", \"-c\", \"echo hello from \$(hostname)\"], \"Tty\": true}" |
  sed 's/.*"Id":"\([0-9a-f]*\)".*/\1/')
trap 'api DELETE "/containers/$id?force=1" >/dev/null' EXIT
echo "container $id"
api POST "/containers/$id/start"

echo "== wait"
api POST "/containers/$id/wait"

echo "== logs"
api GET "/containers/$id/logs?stdout=1"

echo "== what happened, from the journal"
api GET "/events?after=0&until=$(($(date +%s) + 1))&filters=%7B%22container%22%3A%5B%22$id%22%5D%7D" |
  sed 's/.*"Action":"\([^"]*\)".*"seq":\([0-9]*\).*/\2 \1/'
