import os
import socket

from clover.runtime.local import listening


def test_the_kernels_hexadecimal_words_become_addresses():
    assert listening.parse("0100007F:1F90", socket.AF_INET) == "127.0.0.1:8080"
    assert listening.parse("00000000:23DC", socket.AF_INET) == "0.0.0.0:9180"
    assert listening.parse("00000000000000000000000001000000:0050", socket.AF_INET6) == "[::1]:80"


def test_a_listening_socket_of_this_process_is_found():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]

        assert f"127.0.0.1:{port}" in listening.listeners(os.getpid())


def test_a_process_that_is_gone_listens_nowhere():
    assert listening.listeners(2**22 + 1) == ()
