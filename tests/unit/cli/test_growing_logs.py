from clover.cli.logs import Growing, followed


def test_the_last_lines_reach_back_into_the_file_before(tmp_path):
    (tmp_path / "engine.log.1").write_bytes(b"1\n2\n")
    (tmp_path / "engine.log").write_bytes(b"3\n")

    def last(count):
        with Growing(tmp_path / "engine.log") as log:
            return log.last(count)

    assert last(2) == [b"2\n", b"3\n"]
    assert last(-1) == [b"1\n", b"2\n", b"3\n"]
    assert last(0) == []
    assert last(10**20) == [b"1\n", b"2\n", b"3\n"]


def test_a_log_that_does_not_exist_yet_is_empty_until_it_does(tmp_path):
    with Growing(tmp_path / "engine.log") as log:
        assert log.last(-1) == []
        (tmp_path / "engine.log").write_bytes(b"first\n")
        assert log.more() == [b"first\n"]


def test_half_a_line_waits_for_its_other_half(tmp_path):
    path = tmp_path / "engine.log"
    path.write_bytes(b"one\ntw")
    with Growing(path) as log:
        assert log.last(-1) == [b"one\n"]
        with path.open("ab") as file:
            file.write(b"o\n")
        assert log.more() == [b"two\n"]


def test_no_line_is_lost_or_repeated_when_the_file_is_begun_anew(tmp_path):
    path = tmp_path / "engine.log"
    path.write_bytes(b"1\n")
    with Growing(path) as log:
        log.last(-1)

        with path.open("ab") as file:
            file.write(b"2\n")
        path.replace(tmp_path / "engine.log.1")
        path.write_bytes(b"3\n")

        assert log.more() == [b"2\n", b"3\n"]
        assert log.more() == []


def test_following_takes_a_last_look_when_the_chain_is_down(tmp_path):
    path = tmp_path / "engine.log"
    path.write_bytes(b"")
    with Growing(path) as log:
        log.last(-1)
        said = iter([b"working\n", b"farewell\n"])

        def pause():
            with path.open("ab") as file:
                file.write(line := next(said))
            return line != b"farewell\n"

        assert list(followed([("", log)], pause=pause)) == [("", [b"working\n"]), ("", [b"farewell\n"])]
