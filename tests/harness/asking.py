"""
A client to run inside a workload's network: reads a question a line as JSON, and prints the answers as a line of JSON.

It needs nothing but Python, because it runs wherever `clover exec` puts it; gRPC alone needs grpc:

    {"url": "http://app:9180/x", "headers": {...}, "method": "GET", "count": 10}  HTTP/1.1
    {"url": "https://127.0.0.1:8443/x", "sni": "shop.example", "trusts": "ca.crt", "shows": "folder"}  with TLS
    {"tcp": "app:9180", "send": "text", "until": "text", "within_s": 2}  bytes, and what comes back
    {"grpc": "app:50054/package.Service/Method"}  a call with an empty message
"""

import http.client
import json
import socket
import ssl
import sys
import time
from urllib.parse import urlsplit


def http_answer(question):
    parts = urlsplit(question["url"])
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        connection.connect()
        if parts.scheme == "https":
            connection.sock = over_tls(connection.sock, question)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        body = question.get("data")
        connection.request(question.get("method", "GET"), path, body=body, headers=question.get("headers", {}))
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return {"status": response.status, "headers": headers, "body": response.read().decode("utf-8", "replace")}
    except (OSError, http.client.HTTPException) as failure:
        return {"status": 0, "end": type(failure).__name__, "headers": {}, "body": ""}
    finally:
        connection.close()


def over_tls(connection, question):
    """Greet with TLS: ask for `sni`, believe what `trusts` signed for it, show what is in the folder `shows`."""
    context = ssl.create_default_context(cafile=question.get("trusts"))
    if "trusts" not in question:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if "shows" in question:
        context.load_cert_chain(f"{question['shows']}/tls.crt", f"{question['shows']}/tls.key")
    return context.wrap_socket(connection, server_hostname=question.get("sni"))


def tcp_answer(question):
    host, _, port = question["tcp"].rpartition(":")
    received = b""
    until = question.get("until", "\0" * 65536).encode("latin-1")
    deadline = time.monotonic() + question.get("within_s", 3)
    try:
        with socket.create_connection((host, int(port)), timeout=question.get("within_s", 3)) as connection:
            connection.sendall(question.get("send", "").encode("latin-1"))
            while until not in received:
                connection.settimeout(max(0.001, deadline - time.monotonic()))
                piece = connection.recv(65536)
                if not piece:
                    return {"received": received.decode("latin-1"), "end": "closed"}
                received += piece
                if more := question.pop("then_send", ""):
                    connection.sendall(more.encode("latin-1"))
    except TimeoutError:
        return {"received": received.decode("latin-1"), "end": "silence"}
    except OSError as failure:
        return {"received": received.decode("latin-1"), "end": type(failure).__name__}
    return {"received": received.decode("latin-1"), "end": "enough"}


def grpc_answer(question):
    import grpc

    target, _, method = question["grpc"].partition("/")
    with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary(f"/{method}")
        try:
            call(b"", timeout=30, metadata=tuple(question.get("headers", {}).items()))
        except grpc.RpcError as failure:
            return {"end": failure.code().name, "body": failure.details()}
    return {"end": "OK", "body": ""}


def answers(question):
    answer = tcp_answer if "tcp" in question else grpc_answer if "grpc" in question else http_answer
    return [answer(question) for _ in range(question.get("count", 1))]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(answers(json.loads(line))), flush=True)
