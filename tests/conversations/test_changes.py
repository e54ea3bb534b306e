"""In which order changes arrive, so that no request meets a gap."""

from clover.mesh.xds.resource import TYPES
from harness.conversations import BEFORE, changed, snapshot


def test_a_route_moves_after_its_new_cluster_is_warm_and_before_the_old_one_goes():
    stream = changed(
        """
        == after
        << clusters b
        >> endpoints +b
        << endpoints b
        >> clusters ok                  # Envoy says so once b is warm
        >> endpoints ok
        << routes r@2
        >> routes ok
        << clusters -a
        >> endpoints -a
        >> clusters ok
        """,
        after=snapshot("clusters/b", "listeners/l>r", "routes/r@2>b"),
    )

    assert stream.settled


def test_only_what_changed_is_sent():
    stream = changed(
        """
        == after
        << routes r@2
        >> routes ok
        """,
        after=snapshot("clusters/a", "listeners/l>r", "routes/r@2>a"),
    )

    assert [stream.status[type_url].sent for type_url in TYPES] == [0, 0, 0, 0, 1]


def test_nothing_is_sent_for_an_equal_snapshot():
    assert changed("== same", same=snapshot("clusters/a", "listeners/l>r", "routes/r>a")).settled


def test_a_changed_cluster_gets_its_endpoints_again_because_it_waits_for_them():
    changed(
        """
        == after
        << clusters a@2
        << endpoints a
        >> endpoints ok
        >> clusters ok
        """,
        after=snapshot("clusters/a@2", "listeners/l>r", "routes/r>a"),
    )


def test_endpoints_go_at_once_whatever_else_is_under_way():
    changed(
        """
        == one
        << routes r@2
        == two
        << endpoints a@2
        """,
        one=snapshot("clusters/a", "listeners/l>r", "routes/r@2>a"),
        two=snapshot("clusters/a", "endpoints/a@2", "listeners/l>r", "routes/r@2>a"),
    )


def test_of_changes_that_come_faster_than_answers_only_the_last_is_sent():
    stream = changed(
        """
        == two
        << routes r@2
        == three
        == four
        >> routes ok
        << routes r@4
        >> routes ok
        """,
        two=snapshot("clusters/a", "listeners/l>r", "routes/r@2>a"),
        three=snapshot("clusters/a", "listeners/l>r", "routes/r@3>a"),
        four=snapshot("clusters/a", "listeners/l>r", "routes/r@4>a"),
    )

    assert stream.settled


def test_a_change_that_is_taken_back_before_its_answer_is_taken_back_after_it():
    changed(
        """
        == two
        << routes r@2
        == one
        >> routes ok
        << routes r
        >> routes ok
        """,
        two=snapshot("clusters/a", "listeners/l>r", "routes/r@2>a"),
        one=BEFORE,
    )


def test_a_new_listener_comes_with_its_table_before_old_tables_change():
    changed(
        """
        == after
        << listeners m
        >> routes +s
        << routes s
        >> listeners ok
        >> routes ok
        << routes r@2
        >> routes ok
        """,
        after=snapshot("clusters/a", "listeners/l>r", "listeners/m>s", "routes/r@2>a", "routes/s>a"),
    )


def test_a_listener_that_is_gone_takes_its_table_and_then_its_cluster_with_it():
    stream = changed(
        """
        == nothing
        << listeners -l
        >> routes -r
        >> listeners ok
        << clusters -a
        >> endpoints -a
        >> clusters ok
        """,
        nothing=snapshot(),
    )

    assert stream.settled


def test_a_proxy_that_does_not_ask_for_endpoints_is_not_waited_for_for_ever():
    changed(
        """
        == after
        << clusters b
        >> clusters ok
        .. silence
        << routes r@2
        """,
        after=snapshot("clusters/a", "clusters/b", "listeners/l>r", "routes/r@2>b"),
    )
