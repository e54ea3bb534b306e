"""A gRPC call of an ambassador, to run inside a workload's network: METHOD of HOST:PORT, with an empty request."""

import json
import sys

import grpc


def status_of(target, method):
    with grpc.insecure_channel(target) as channel:
        call = channel.unary_unary(f"/clover.control.v1.Ambassador/{method}")
        try:
            call(b"", timeout=30)
        except grpc.RpcError as failure:
            return {"code": failure.code().name, "details": failure.details()}
    return {"code": "OK", "details": ""}


if __name__ == "__main__":
    print(json.dumps(status_of(*sys.argv[1:])))
