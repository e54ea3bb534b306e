from hypothesis import given
from hypothesis import strategies as st

from clover.cli import render_proxy

NAMES = ["configs", "active_state", "listener", "filter_chains", "@type", "rds", "error_state",
         "cluster_statuses", "host_statuses", "listener_statuses", "stats", "name", "route_config", "value",
         "virtual_hosts", "routes", "match", "route", "address", "health_status", "dynamic_listeners"]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=25,
)


def text(what, answer):
    return [line.plain for line in render_proxy.lines(what, answer)]


def test_clusters_show_each_endpoint_with_its_health_and_requests():
    address = {"socket_address": {"address": "10.244.0.5", "port_value": 9180}}
    stats = [{"name": "rq_total", "value": "12"}, {"name": "cx_active", "value": "1"}]
    healthy = {"address": address, "health_status": {"eds_health_status": "HEALTHY"}, "stats": stats}
    ejected = {"address": address, "health_status": {"failed_outlier_check": True, "eds_health_status": "HEALTHY"}}
    name = "outbound|9180|v1|http-lb"
    clusters = [{"name": name, "host_statuses": [healthy, ejected]}, {"name": "x-none"}]

    assert text("clusters", {"cluster_statuses": clusters}) == [
        "CLUSTER                   ENDPOINT         HEALTH         REQUESTS  ERRORS  CONNECTIONS",
        "outbound|9180|v1|http-lb  10.244.0.5:9180  healthy              12       0            1",
        "outbound|9180|v1|http-lb  10.244.0.5:9180  outlier check         0       0            0",
        "x-none                    no endpoint      -                     0       0            0",
    ]


def test_routes_show_where_each_match_goes_and_in_which_shares():
    split = {"clusters": [{"name": "v1", "weight": 90}, {"name": "v2", "weight": 10}]}
    table = {
        "name": "http-lb:9180",
        "virtual_hosts": [
            {
                "domains": ["*"],
                "routes": [
                    {
                        "match": {"prefix": "/api", "headers": [{"name": "x"}]},
                        "route": {"weighted_clusters": split},
                    },
                    {"match": {"safe_regex": {"regex": "/a.*"}}, "direct_response": {"status": 418}},
                ],
            }
        ],
    }

    assert text("routes", {"configs": [{"dynamic_route_configs": [{"route_config": table}]}]}) == [
        "TABLE         DOMAINS  MATCH       TO",
        "http-lb:9180  *        /api* if x  v1 90, v2 10",
        "http-lb:9180  *        ~/a.*       answer 418",
    ]


def test_a_resource_that_envoy_refused_shows_in_the_configuration():
    listener = {"name": "in", "error_state": {"details": "duplicate address"}, "active_state": {"version_info": "4"}}
    dump = {
        "configs": [
            {"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": [listener]}
        ]
    }

    assert text("config", dump)[1].split(maxsplit=4) == ["Listeners", "dynamic", "in", "4", "duplicate address"]


def test_listeners_show_where_each_leads_and_what_envoy_refused():
    def entry(name, *filters, **more):
        typed = [{"@type": f"type.googleapis.com/x.{kind}", **config} for kind, config in filters]
        chains = [{"filters": [{"typed_config": config}]} for config in typed]
        address = {"socket_address": {"address": "10.96.0.3", "port_value": 9180}}
        return {"name": name, "active_state": {"listener": {"address": address, "filter_chains": chains}}, **more}

    http = ("HttpConnectionManager", {"rds": {"route_config_name": "http-lb:9180"}})
    tcp = ("TcpProxy", {"cluster": "PassthroughCluster"})
    refused = {"error_state": {"details": "duplicate address"}}

    assert text("listeners", {"configs": [entry("b", http, tcp), entry("a", tcp, **refused)]}) == [
        "LISTENER  ADDRESS         LEADS TO                                          STATE",
        "a         10.96.0.3:9180  bytes to PassthroughCluster                       duplicate address",
        "b         10.96.0.3:9180  routes http-lb:9180, bytes to PassthroughCluster  ok",
    ]


def test_nothing_is_said_in_words():
    assert text("listeners", {}) == ["no listeners"]


@given(st.sampled_from(["config", "clusters", "listeners", "routes", "stats"]), JSON)
def test_no_answer_of_any_envoy_breaks_the_view(what, answer):
    assert text(what, answer)
