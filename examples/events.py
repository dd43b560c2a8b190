#!/usr/bin/env python3
"""Follows the daemon's events with the standard library alone.

    python3 events.py [label]     only objects with this label, as "app=web"
"""
import http.client
import json
import os
import socket
import sys
from urllib.parse import quote


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def events(path, filters):
    connection = UnixConnection(path)
    try:
        connection.request("GET", "/v1.51/events?filters=" + quote(json.dumps(filters)))
        answer = connection.getresponse()
        if answer.status != 200:
            raise SystemExit(json.load(answer)["message"])
        for line in answer:
            yield json.loads(line)
    finally:
        connection.close()


def main():
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if not host.startswith("unix://"):
        raise SystemExit(f"this example speaks to a unix socket, not to {host}")
    filters = {"label": sys.argv[1:]} if sys.argv[1:] else {}
    for event in events(host[len("unix://"):], filters):
        attributes = event["Actor"]["Attributes"]
        print(event["time"], event["Type"], event["Action"], attributes.get("name", event["Actor"]["ID"]), flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
