"""What happens when a proxy does not accept what it is sent."""

from clover.mesh.xds.resource import CLUSTER, ROUTES
from harness.conversations import BEFORE, changed, play, snapshot

BAD_ROUTE = snapshot("clusters/a", "listeners/l>r", "routes/r@bad>a")


def test_a_refused_table_is_a_problem_in_its_authors_words_and_is_not_sent_again():
    stream = changed(
        """
        == bad
        << routes r@bad
        >> routes no: Only unique values for domains are permitted
        == bad
        """,
        bad=BAD_ROUTE,
    )

    (problem,) = stream.problems
    assert stream.settled
    assert problem.where == "VirtualService/default/r"
    assert problem.what == ("proxy 'proxy' refused route table 'r': Only unique values for domains are permitted")
    assert stream.status[ROUTES].accepted == {"r": "1"}


def test_a_refusal_is_forgotten_when_the_last_good_version_is_wanted_again():
    stream = changed(
        """
        == bad
        << routes r@bad
        >> routes no: so not
        == good
        """,
        bad=BAD_ROUTE,
        good=BEFORE,
    )

    assert stream.settled
    assert stream.problems == ()


def test_a_refused_table_is_sent_again_when_it_has_changed():
    stream = changed(
        """
        == bad
        << routes r@bad
        >> routes no: so not
        == better
        << routes r@3
        >> routes ok
        """,
        bad=BAD_ROUTE,
        better=snapshot("clusters/a", "listeners/l>r", "routes/r@3>a"),
    )

    assert stream.problems == ()


def test_a_refusal_of_what_has_changed_meanwhile_does_not_hold_the_new_version_back():
    stream = changed(
        """
        == bad
        << routes r@bad
        == better
        >> routes no: so not
        << routes r@3
        >> routes ok
        """,
        bad=BAD_ROUTE,
        better=snapshot("clusters/a", "listeners/l>r", "routes/r@3>a"),
    )

    assert stream.problems == ()
    assert stream.settled


def test_of_several_clusters_the_one_that_is_named_is_refused_and_the_others_are_there():
    stream = changed(
        """
        == more
        << clusters b, c
        >> endpoints +b
        << endpoints b
        >> endpoints ok
        >> clusters no: Error adding/updating cluster(s) c: no such thing
        """,
        more=snapshot("clusters/a", "clusters/b", "clusters/c", "listeners/l>r", "routes/r>a"),
    )

    assert stream.status[CLUSTER].accepted == {"a": "1", "b": "1"}
    assert stream.status[CLUSTER].rejected.keys() == {"c"}


def test_a_name_inside_another_name_is_not_blamed_for_it():
    stream = changed(
        """
        == more
        << clusters lb, my-lb
        >> endpoints +lb
        << endpoints lb
        >> endpoints ok
        >> clusters no: Error adding/updating cluster(s) my-lb: no such thing
        """,
        more=snapshot("clusters/a", "clusters/lb", "clusters/my-lb", "listeners/l>r", "routes/r>a"),
    )

    assert stream.status[CLUSTER].rejected.keys() == {"my-lb"}


def test_when_the_proxy_does_not_say_which_each_is_tried_alone():
    stream = play(
        """
        >> routes +r +s +t
        << routes r, s, t
        >> routes no: something is wrong
        << routes r
        >> routes ok
        << routes s
        >> routes no: something is wrong
        << routes t
        >> routes ok
        """,
        start=snapshot("routes/r", "routes/s", "routes/t"),
    )

    assert stream.status[ROUTES].accepted.keys() == {"r", "t"}
    assert [problem.where for problem in stream.problems] == ["VirtualService/default/s"]


def test_a_route_does_not_move_to_a_cluster_that_was_refused():
    stream = changed(
        """
        == after
        << clusters b
        >> clusters no: Error adding/updating cluster(s) b: no
        """,
        after=snapshot("clusters/a", "clusters/b", "listeners/l>r", "routes/r@2>b"),
    )

    assert stream.settled
    assert stream.status[ROUTES].accepted == {"r": "1"}


def test_a_proxy_without_any_routes_gets_those_that_lead_to_a_refused_cluster_too():
    play(
        """
        >> clusters
        << clusters b
        >> clusters no: Error adding/updating cluster(s) b: no
        >> listeners
        << listeners l
        >> routes +r
        << routes r
        """,
        start=snapshot("clusters/b", "listeners/l>r", "routes/r>b"),
    )


def test_a_cluster_stays_as_long_as_a_refused_change_keeps_it_in_use():
    stream = changed(
        """
        == after
        << clusters b
        >> endpoints +b
        << endpoints b
        >> endpoints ok
        >> clusters ok
        << routes r@bad
        >> routes no: so not
        """,
        after=snapshot("clusters/b", "listeners/l>r", "routes/r@bad>b"),
    )

    assert stream.settled
    assert stream.status[CLUSTER].accepted.keys() == {"a", "b"}


def test_a_serving_proxy_that_is_silent_about_new_clusters_is_freed_by_taking_them_back():
    stream = changed(
        """
        == more
        << clusters b, c
        >> endpoints +b
        << endpoints b
        >> endpoints ok
        .. silence
        << clusters -b, -c
        >> endpoints -b
        >> clusters first no: Error adding/updating cluster(s) c: no such thing
        << clusters b
        >> endpoints +b
        << endpoints b
        >> clusters ok
        >> endpoints ok
        """,
        more=snapshot("clusters/a", "clusters/b", "clusters/c", "listeners/l>r", "routes/r>a"),
    )

    assert stream.settled
    assert stream.status[CLUSTER].rejected.keys() == {"c"}


def test_a_starting_proxy_may_be_silent_about_clusters():
    stream = play(
        """
        >> clusters
        << clusters a
        >> endpoints +a
        << endpoints a
        """,
        start=BEFORE,
    )

    assert not stream.waiting
