"""
A client to run inside a workload's network: reads questions as JSON from standard input, prints the answers as JSON.

It needs nothing but Python, because it runs wherever `clover exec` puts it:

    {"url": "http://app:9180/x", "headers": {...}, "method": "GET", "count": 10}  HTTP/1.1
    {"tcp": "app:9180", "send": "text", "within_s": 2}  bytes, and what comes back
"""

import http.client
import json
import socket
import ssl
import sys
from urllib.parse import urlsplit


def http_answer(question):
    parts = urlsplit(question["url"])
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    more = {"context": ssl._create_unverified_context()} if parts.scheme == "https" else {}
    connection = kind(parts.hostname, parts.port, timeout=15, **more)
    try:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        body = question.get("data")
        connection.request(question.get("method", "GET"), path, body=body, headers=question.get("headers", {}))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return {"status": response.status, "headers": headers, "body": response.read().decode("utf-8", "replace")}
    except (OSError, http.client.HTTPException) as failure:
        return {"status": 0, "error": type(failure).__name__, "headers": {}, "body": ""}
    finally:
        connection.close()


def tcp_answer(question):
    host, _, port = question["tcp"].rpartition(":")
    received = b""
    try:
        with socket.create_connection((host, int(port)), timeout=question.get("within_s", 3)) as connection:
            connection.sendall(question.get("send", "").encode())
            while len(received) < question.get("until_bytes", 65536):
                piece = connection.recv(65536)
                if not piece:
                    return {"received": received.decode("latin-1"), "end": "closed"}
                received += piece
    except TimeoutError:
        return {"received": received.decode("latin-1"), "end": "silence"}
    except ConnectionError as failure:
        return {"received": received.decode("latin-1"), "end": type(failure).__name__}
    return {"received": received.decode("latin-1"), "end": "enough"}


def answers(question):
    answer = tcp_answer if "tcp" in question else http_answer
    return [answer(question) for _ in range(question.get("count", 1))]


if __name__ == "__main__":
    json.dump([answers(question) for question in json.load(sys.stdin)], sys.stdout)
