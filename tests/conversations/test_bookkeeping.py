"""What a stream remembers, so that it need not look at everything again, is what it would find if it did."""

from hypothesis import given, settings
from hypothesis import strategies as st

from clover.mesh import ads
from clover.mesh.snapshot import Snapshot
from clover.mesh.xds.resource import CLUSTER, ENDPOINTS, LISTENER, ROUTES, TYPES, Resource

_DEPENDENTS = {CLUSTER: ENDPOINTS, LISTENER: ROUTES, ROUTES: CLUSTER}
_NAMES = st.lists(st.sampled_from("abc"), unique=True, max_size=3).map(tuple)
_VERSIONS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3)
_SNAPSHOTS = st.fixed_dictionaries({type_url: _VERSIONS for type_url in TYPES}).map(
    lambda found: Snapshot(
        node="proxy",
        resources={type_url: _resources(type_url, versions, found) for type_url, versions in found.items()},
    )
)
_REQUESTS = st.builds(
    ads.Request,
    type_url=st.sampled_from(TYPES),
    subscribe=_NAMES | st.just(("*",)),
    unsubscribe=_NAMES | st.just(("*",)),
    has=_VERSIONS,
)
_ANSWERS = st.sampled_from(["", "something is wrong", "a: it is wrong"])


def _resources(type_url, versions, found):
    """One resource of each name, which refers to the one with its own name, where that exists."""
    other = _DEPENDENTS.get(type_url)
    return {
        name: Resource(
            name=name,
            type_url=type_url,
            version=version,
            body=b"",
            requires=((other, name),) if name in found.get(other, ()) else (),
        )
        for name, version in versions.items()
    }


@given(_SNAPSHOTS, st.lists(_SNAPSHOTS | _REQUESTS | _ANSWERS, max_size=30))
@settings(deadline=None)
def test_a_stream_knows_what_its_proxy_lacks_after_whatever_was_said(start, conversation):
    stream = ads.Stream(start)
    under_way = []
    for said in conversation:
        match said:
            case Snapshot():
                under_way += stream.update(said)
            case ads.Request():
                under_way += stream.receive(said)
            case str() if under_way:
                response = under_way.pop(0)
                answer = ads.Request(type_url=response.type_url, nonce=response.nonce, error=said)
                under_way += stream.receive(answer)

        for type_url, state in stream._types.items():
            if state.opened:
                assert (state.missing, state.surplus) == _found_by_looking(state, stream.snapshot.resources[type_url])


def _found_by_looking(state, wanted):
    asked = wanted if state.wildcard else state.subscribed & wanted.keys()
    missing = {name for name in asked if state.known.get(name) != wanted[name].version or name in state.owed}
    return missing, state.known.keys() - wanted.keys()
