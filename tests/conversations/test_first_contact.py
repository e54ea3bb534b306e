"""What a proxy hears when it starts, comes back, or asks for what is not there."""

from harness.conversations import play, snapshot

ONE = snapshot("clusters/a", "listeners/l>r", "routes/r>a")


def test_a_new_proxy_hears_of_clusters_then_endpoints_then_listeners_then_routes():
    stream = play(
        """
        >> clusters
        << clusters a
        >> listeners
        >> endpoints +a
        << endpoints a
        >> clusters ok
        >> endpoints ok
        << listeners l
        >> routes +r
        << routes r
        >> listeners ok
        >> routes ok
        """,
        start=ONE,
    )

    assert stream.settled
    assert stream.problems == ()


def test_a_proxy_that_has_everything_is_sent_nothing():
    stream = play(
        """
        >> clusters has a
        << clusters nothing
        >> endpoints +a has a
        >> listeners has l
        << listeners nothing
        >> routes +r has r
        >> clusters ok
        >> listeners ok
        """,
        start=ONE,
    )

    assert stream.settled


def test_a_proxy_that_comes_back_is_sent_what_it_missed():
    play(
        """
        >> clusters has a, gone
        << clusters nothing
        >> endpoints +a has a
        >> listeners has l
        << listeners nothing
        >> routes +r has r@0
        >> clusters ok
        >> listeners ok
        << routes r
        >> routes ok
        << clusters -gone
        >> clusters ok
        """,
        start=ONE,
    )


def test_a_proxy_with_nothing_to_do_is_told_so():
    stream = play(
        """
        >> clusters
        << clusters nothing
        >> listeners
        << listeners nothing
        >> clusters ok
        >> listeners ok
        """,
        start=snapshot(),
    )

    assert stream.settled


def test_a_name_that_does_not_exist_is_told_to_be_gone_once():
    play(
        """
        >> endpoints +nowhere
        << endpoints -nowhere
        >> endpoints ok
        >> endpoints +nowhere
        << endpoints -nowhere
        """,
        start=snapshot(),
    )


def test_asking_again_for_a_name_brings_it_again():
    play(
        """
        >> endpoints +a
        << endpoints a
        >> endpoints ok
        >> endpoints +a
        << endpoints a
        """,
        start=ONE,
    )


def test_a_name_that_is_given_up_and_asked_for_while_it_travels_is_sent_again():
    play(
        """
        >> endpoints +a
        << endpoints a
        >> endpoints -a
        >> endpoints +a
        >> endpoints ok
        << endpoints a
        """,
        start=ONE,
    )


def test_an_answer_to_an_older_response_changes_nothing():
    stream = play(
        """
        >> endpoints +a
        << endpoints a
        >> endpoints late
        """,
        start=ONE,
    )

    assert stream.status["type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"].accepted == {}


def test_a_star_is_everything_and_can_be_given_up():
    play(
        """
        >> clusters +*
        << clusters a
        >> clusters ok
        >> clusters -*
        == more
        """,
        start=ONE,
        more=snapshot("clusters/a", "clusters/b"),
    )
