import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BackendState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BACKEND_STATE_UNSPECIFIED: _ClassVar[BackendState]
    BACKEND_STATE_READY: _ClassVar[BackendState]
    BACKEND_STATE_DRAIN: _ClassVar[BackendState]
    BACKEND_STATE_DISABLED: _ClassVar[BackendState]
BACKEND_STATE_UNSPECIFIED: BackendState
BACKEND_STATE_READY: BackendState
BACKEND_STATE_DRAIN: BackendState
BACKEND_STATE_DISABLED: BackendState

class Configuration(_message.Message):
    __slots__ = ("firewall", "load_balancer", "cache", "ids", "server")
    FIREWALL_FIELD_NUMBER: _ClassVar[int]
    LOAD_BALANCER_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    firewall: FirewallConfiguration
    load_balancer: LoadBalancerConfiguration
    cache: CacheConfiguration
    ids: IdsConfiguration
    server: ServerConfiguration
    def __init__(self, firewall: _Optional[_Union[FirewallConfiguration, _Mapping]] = ..., load_balancer: _Optional[_Union[LoadBalancerConfiguration, _Mapping]] = ..., cache: _Optional[_Union[CacheConfiguration, _Mapping]] = ..., ids: _Optional[_Union[IdsConfiguration, _Mapping]] = ..., server: _Optional[_Union[ServerConfiguration, _Mapping]] = ...) -> None: ...

class Backend(_message.Message):
    __slots__ = ("host", "port", "weight", "state")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    host: str
    port: int
    weight: int
    state: BackendState
    def __init__(self, host: _Optional[str] = ..., port: _Optional[int] = ..., weight: _Optional[int] = ..., state: _Optional[_Union[BackendState, str]] = ...) -> None: ...

class LoadBalancerConfiguration(_message.Message):
    __slots__ = ("backends", "algorithm")
    class Algorithm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ALGORITHM_UNSPECIFIED: _ClassVar[LoadBalancerConfiguration.Algorithm]
        ALGORITHM_ROUND_ROBIN: _ClassVar[LoadBalancerConfiguration.Algorithm]
        ALGORITHM_LEAST_CONNECTIONS: _ClassVar[LoadBalancerConfiguration.Algorithm]
        ALGORITHM_RANDOM: _ClassVar[LoadBalancerConfiguration.Algorithm]
        ALGORITHM_SOURCE: _ClassVar[LoadBalancerConfiguration.Algorithm]
    ALGORITHM_UNSPECIFIED: LoadBalancerConfiguration.Algorithm
    ALGORITHM_ROUND_ROBIN: LoadBalancerConfiguration.Algorithm
    ALGORITHM_LEAST_CONNECTIONS: LoadBalancerConfiguration.Algorithm
    ALGORITHM_RANDOM: LoadBalancerConfiguration.Algorithm
    ALGORITHM_SOURCE: LoadBalancerConfiguration.Algorithm
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    backends: _containers.RepeatedCompositeFieldContainer[Backend]
    algorithm: LoadBalancerConfiguration.Algorithm
    def __init__(self, backends: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ..., algorithm: _Optional[_Union[LoadBalancerConfiguration.Algorithm, str]] = ...) -> None: ...

class CacheConfiguration(_message.Message):
    __slots__ = ("backends", "default_ttl", "grace", "max_size_mib", "uncached_paths")
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_TTL_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    MAX_SIZE_MIB_FIELD_NUMBER: _ClassVar[int]
    UNCACHED_PATHS_FIELD_NUMBER: _ClassVar[int]
    backends: _containers.RepeatedCompositeFieldContainer[Backend]
    default_ttl: _duration_pb2.Duration
    grace: _duration_pb2.Duration
    max_size_mib: int
    uncached_paths: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, backends: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ..., default_ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., grace: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., max_size_mib: _Optional[int] = ..., uncached_paths: _Optional[_Iterable[str]] = ...) -> None: ...

class FirewallConfiguration(_message.Message):
    __slots__ = ("backends", "mode", "paranoia_level", "anomaly_threshold", "excluded_rules", "rules", "denied_networks", "block_policy")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MODE_UNSPECIFIED: _ClassVar[FirewallConfiguration.Mode]
        MODE_BLOCKING: _ClassVar[FirewallConfiguration.Mode]
        MODE_DETECTION_ONLY: _ClassVar[FirewallConfiguration.Mode]
        MODE_OFF: _ClassVar[FirewallConfiguration.Mode]
    MODE_UNSPECIFIED: FirewallConfiguration.Mode
    MODE_BLOCKING: FirewallConfiguration.Mode
    MODE_DETECTION_ONLY: FirewallConfiguration.Mode
    MODE_OFF: FirewallConfiguration.Mode
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    PARANOIA_LEVEL_FIELD_NUMBER: _ClassVar[int]
    ANOMALY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    EXCLUDED_RULES_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    DENIED_NETWORKS_FIELD_NUMBER: _ClassVar[int]
    BLOCK_POLICY_FIELD_NUMBER: _ClassVar[int]
    backends: _containers.RepeatedCompositeFieldContainer[Backend]
    mode: FirewallConfiguration.Mode
    paranoia_level: int
    anomaly_threshold: int
    excluded_rules: _containers.RepeatedScalarFieldContainer[int]
    rules: _containers.RepeatedCompositeFieldContainer[FirewallRule]
    denied_networks: _containers.RepeatedScalarFieldContainer[str]
    block_policy: BlockPolicy
    def __init__(self, backends: _Optional[_Iterable[_Union[Backend, _Mapping]]] = ..., mode: _Optional[_Union[FirewallConfiguration.Mode, str]] = ..., paranoia_level: _Optional[int] = ..., anomaly_threshold: _Optional[int] = ..., excluded_rules: _Optional[_Iterable[int]] = ..., rules: _Optional[_Iterable[_Union[FirewallRule, _Mapping]]] = ..., denied_networks: _Optional[_Iterable[str]] = ..., block_policy: _Optional[_Union[BlockPolicy, _Mapping]] = ...) -> None: ...

class FirewallRule(_message.Message):
    __slots__ = ("id", "target", "name", "operator", "value", "action", "message")
    class Target(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TARGET_UNSPECIFIED: _ClassVar[FirewallRule.Target]
        TARGET_URI: _ClassVar[FirewallRule.Target]
        TARGET_PATH: _ClassVar[FirewallRule.Target]
        TARGET_QUERY: _ClassVar[FirewallRule.Target]
        TARGET_METHOD: _ClassVar[FirewallRule.Target]
        TARGET_BODY: _ClassVar[FirewallRule.Target]
        TARGET_USER_AGENT: _ClassVar[FirewallRule.Target]
        TARGET_HEADER: _ClassVar[FirewallRule.Target]
        TARGET_ARGUMENT: _ClassVar[FirewallRule.Target]
        TARGET_COOKIE: _ClassVar[FirewallRule.Target]
    TARGET_UNSPECIFIED: FirewallRule.Target
    TARGET_URI: FirewallRule.Target
    TARGET_PATH: FirewallRule.Target
    TARGET_QUERY: FirewallRule.Target
    TARGET_METHOD: FirewallRule.Target
    TARGET_BODY: FirewallRule.Target
    TARGET_USER_AGENT: FirewallRule.Target
    TARGET_HEADER: FirewallRule.Target
    TARGET_ARGUMENT: FirewallRule.Target
    TARGET_COOKIE: FirewallRule.Target
    class Operator(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OPERATOR_UNSPECIFIED: _ClassVar[FirewallRule.Operator]
        OPERATOR_CONTAINS: _ClassVar[FirewallRule.Operator]
        OPERATOR_EQUALS: _ClassVar[FirewallRule.Operator]
        OPERATOR_BEGINS_WITH: _ClassVar[FirewallRule.Operator]
        OPERATOR_ENDS_WITH: _ClassVar[FirewallRule.Operator]
        OPERATOR_REGEX: _ClassVar[FirewallRule.Operator]
    OPERATOR_UNSPECIFIED: FirewallRule.Operator
    OPERATOR_CONTAINS: FirewallRule.Operator
    OPERATOR_EQUALS: FirewallRule.Operator
    OPERATOR_BEGINS_WITH: FirewallRule.Operator
    OPERATOR_ENDS_WITH: FirewallRule.Operator
    OPERATOR_REGEX: FirewallRule.Operator
    class Action(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ACTION_UNSPECIFIED: _ClassVar[FirewallRule.Action]
        ACTION_BLOCK: _ClassVar[FirewallRule.Action]
        ACTION_LOG: _ClassVar[FirewallRule.Action]
    ACTION_UNSPECIFIED: FirewallRule.Action
    ACTION_BLOCK: FirewallRule.Action
    ACTION_LOG: FirewallRule.Action
    ID_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: int
    target: FirewallRule.Target
    name: str
    operator: FirewallRule.Operator
    value: str
    action: FirewallRule.Action
    message: str
    def __init__(self, id: _Optional[int] = ..., target: _Optional[_Union[FirewallRule.Target, str]] = ..., name: _Optional[str] = ..., operator: _Optional[_Union[FirewallRule.Operator, str]] = ..., value: _Optional[str] = ..., action: _Optional[_Union[FirewallRule.Action, str]] = ..., message: _Optional[str] = ...) -> None: ...

class BlockPolicy(_message.Message):
    __slots__ = ("threshold", "window", "duration", "allow", "dry_run")
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    threshold: int
    window: _duration_pb2.Duration
    duration: _duration_pb2.Duration
    allow: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    def __init__(self, threshold: _Optional[int] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., allow: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class IdsConfiguration(_message.Message):
    __slots__ = ("rules",)
    RULES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[IdsRule]
    def __init__(self, rules: _Optional[_Iterable[_Union[IdsRule, _Mapping]]] = ...) -> None: ...

class IdsRule(_message.Message):
    __slots__ = ("id", "message", "severity", "http", "text")
    ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    HTTP_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    id: int
    message: str
    severity: int
    http: HttpMatch
    text: str
    def __init__(self, id: _Optional[int] = ..., message: _Optional[str] = ..., severity: _Optional[int] = ..., http: _Optional[_Union[HttpMatch, _Mapping]] = ..., text: _Optional[str] = ...) -> None: ...

class HttpMatch(_message.Message):
    __slots__ = ("field", "contains", "case_sensitive")
    class Field(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FIELD_UNSPECIFIED: _ClassVar[HttpMatch.Field]
        FIELD_USER_AGENT: _ClassVar[HttpMatch.Field]
        FIELD_URI: _ClassVar[HttpMatch.Field]
        FIELD_METHOD: _ClassVar[HttpMatch.Field]
        FIELD_HOST: _ClassVar[HttpMatch.Field]
        FIELD_HEADER: _ClassVar[HttpMatch.Field]
        FIELD_BODY: _ClassVar[HttpMatch.Field]
    FIELD_UNSPECIFIED: HttpMatch.Field
    FIELD_USER_AGENT: HttpMatch.Field
    FIELD_URI: HttpMatch.Field
    FIELD_METHOD: HttpMatch.Field
    FIELD_HOST: HttpMatch.Field
    FIELD_HEADER: HttpMatch.Field
    FIELD_BODY: HttpMatch.Field
    FIELD_FIELD_NUMBER: _ClassVar[int]
    CONTAINS_FIELD_NUMBER: _ClassVar[int]
    CASE_SENSITIVE_FIELD_NUMBER: _ClassVar[int]
    field: HttpMatch.Field
    contains: str
    case_sensitive: bool
    def __init__(self, field: _Optional[_Union[HttpMatch.Field, str]] = ..., contains: _Optional[str] = ..., case_sensitive: _Optional[bool] = ...) -> None: ...

class ServerConfiguration(_message.Message):
    __slots__ = ("sites",)
    SITES_FIELD_NUMBER: _ClassVar[int]
    sites: _containers.RepeatedCompositeFieldContainer[Site]
    def __init__(self, sites: _Optional[_Iterable[_Union[Site, _Mapping]]] = ...) -> None: ...

class Site(_message.Message):
    __slots__ = ("hosts", "locations")
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    LOCATIONS_FIELD_NUMBER: _ClassVar[int]
    hosts: _containers.RepeatedScalarFieldContainer[str]
    locations: _containers.RepeatedCompositeFieldContainer[Location]
    def __init__(self, hosts: _Optional[_Iterable[str]] = ..., locations: _Optional[_Iterable[_Union[Location, _Mapping]]] = ...) -> None: ...

class Location(_message.Message):
    __slots__ = ("path", "match", "respond", "redirect", "files")
    class Match(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MATCH_UNSPECIFIED: _ClassVar[Location.Match]
        MATCH_EXACT: _ClassVar[Location.Match]
        MATCH_PREFIX: _ClassVar[Location.Match]
    MATCH_UNSPECIFIED: Location.Match
    MATCH_EXACT: Location.Match
    MATCH_PREFIX: Location.Match
    PATH_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    RESPOND_FIELD_NUMBER: _ClassVar[int]
    REDIRECT_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    path: str
    match: Location.Match
    respond: Respond
    redirect: Redirect
    files: bool
    def __init__(self, path: _Optional[str] = ..., match: _Optional[_Union[Location.Match, str]] = ..., respond: _Optional[_Union[Respond, _Mapping]] = ..., redirect: _Optional[_Union[Redirect, _Mapping]] = ..., files: _Optional[bool] = ...) -> None: ...

class Respond(_message.Message):
    __slots__ = ("status", "body", "content_type")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    status: int
    body: str
    content_type: str
    def __init__(self, status: _Optional[int] = ..., body: _Optional[str] = ..., content_type: _Optional[str] = ...) -> None: ...

class Redirect(_message.Message):
    __slots__ = ("to", "status")
    TO_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    to: str
    status: int
    def __init__(self, to: _Optional[str] = ..., status: _Optional[int] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class State(_message.Message):
    __slots__ = ("function", "version", "workload", "type", "engine", "generation", "applied_at", "configuration", "engine_ready", "engine_message")
    FUNCTION_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    ENGINE_READY_FIELD_NUMBER: _ClassVar[int]
    ENGINE_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    function: str
    version: str
    workload: str
    type: str
    engine: str
    generation: int
    applied_at: _timestamp_pb2.Timestamp
    configuration: Configuration
    engine_ready: bool
    engine_message: str
    def __init__(self, function: _Optional[str] = ..., version: _Optional[str] = ..., workload: _Optional[str] = ..., type: _Optional[str] = ..., engine: _Optional[str] = ..., generation: _Optional[int] = ..., applied_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., configuration: _Optional[_Union[Configuration, _Mapping]] = ..., engine_ready: _Optional[bool] = ..., engine_message: _Optional[str] = ...) -> None: ...

class ApplyRequest(_message.Message):
    __slots__ = ("configuration", "expected_generation", "dry_run")
    CONFIGURATION_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    configuration: Configuration
    expected_generation: int
    dry_run: bool
    def __init__(self, configuration: _Optional[_Union[Configuration, _Mapping]] = ..., expected_generation: _Optional[int] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ApplyResponse(_message.Message):
    __slots__ = ("generation", "changed", "diff", "method", "steps", "dry_run")
    class Method(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        METHOD_UNSPECIFIED: _ClassVar[ApplyResponse.Method]
        METHOD_NONE: _ClassVar[ApplyResponse.Method]
        METHOD_RUNTIME: _ClassVar[ApplyResponse.Method]
        METHOD_RELOAD: _ClassVar[ApplyResponse.Method]
    METHOD_UNSPECIFIED: ApplyResponse.Method
    METHOD_NONE: ApplyResponse.Method
    METHOD_RUNTIME: ApplyResponse.Method
    METHOD_RELOAD: ApplyResponse.Method
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    DIFF_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    generation: int
    changed: bool
    diff: str
    method: ApplyResponse.Method
    steps: _containers.RepeatedCompositeFieldContainer[Step]
    dry_run: bool
    def __init__(self, generation: _Optional[int] = ..., changed: _Optional[bool] = ..., diff: _Optional[str] = ..., method: _Optional[_Union[ApplyResponse.Method, str]] = ..., steps: _Optional[_Iterable[_Union[Step, _Mapping]]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class Step(_message.Message):
    __slots__ = ("name", "duration")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    name: str
    duration: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("interval",)
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    interval: _duration_pb2.Duration
    def __init__(self, interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Status(_message.Message):
    __slots__ = ("workload", "generation", "engine_ready", "engine_message", "changing", "statistics", "time")
    class StatisticsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ENGINE_READY_FIELD_NUMBER: _ClassVar[int]
    ENGINE_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    CHANGING_FIELD_NUMBER: _ClassVar[int]
    STATISTICS_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    workload: str
    generation: int
    engine_ready: bool
    engine_message: str
    changing: bool
    statistics: _containers.ScalarMap[str, float]
    time: _timestamp_pb2.Timestamp
    def __init__(self, workload: _Optional[str] = ..., generation: _Optional[int] = ..., engine_ready: _Optional[bool] = ..., engine_message: _Optional[str] = ..., changing: _Optional[bool] = ..., statistics: _Optional[_Mapping[str, float]] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListBackendsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListBackendsResponse(_message.Message):
    __slots__ = ("backends", "generation")
    BACKENDS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    backends: _containers.RepeatedCompositeFieldContainer[BackendStatus]
    generation: int
    def __init__(self, backends: _Optional[_Iterable[_Union[BackendStatus, _Mapping]]] = ..., generation: _Optional[int] = ...) -> None: ...

class BackendStatus(_message.Message):
    __slots__ = ("backend", "engine_state", "requests_total", "active")
    BACKEND_FIELD_NUMBER: _ClassVar[int]
    ENGINE_STATE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    backend: Backend
    engine_state: str
    requests_total: int
    active: int
    def __init__(self, backend: _Optional[_Union[Backend, _Mapping]] = ..., engine_state: _Optional[str] = ..., requests_total: _Optional[int] = ..., active: _Optional[int] = ...) -> None: ...

class SetBackendStateRequest(_message.Message):
    __slots__ = ("host", "port", "state", "weight", "expected_generation")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    host: str
    port: int
    state: BackendState
    weight: int
    expected_generation: int
    def __init__(self, host: _Optional[str] = ..., port: _Optional[int] = ..., state: _Optional[_Union[BackendState, str]] = ..., weight: _Optional[int] = ..., expected_generation: _Optional[int] = ...) -> None: ...

class PurgeCacheRequest(_message.Message):
    __slots__ = ("url", "prefix", "everything")
    URL_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    EVERYTHING_FIELD_NUMBER: _ClassVar[int]
    url: str
    prefix: str
    everything: bool
    def __init__(self, url: _Optional[str] = ..., prefix: _Optional[str] = ..., everything: _Optional[bool] = ...) -> None: ...

class PurgeCacheResponse(_message.Message):
    __slots__ = ("purged",)
    PURGED_FIELD_NUMBER: _ClassVar[int]
    purged: int
    def __init__(self, purged: _Optional[int] = ...) -> None: ...

class AddRuleRequest(_message.Message):
    __slots__ = ("rule", "expected_generation")
    RULE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    rule: IdsRule
    expected_generation: int
    def __init__(self, rule: _Optional[_Union[IdsRule, _Mapping]] = ..., expected_generation: _Optional[int] = ...) -> None: ...

class RemoveRuleRequest(_message.Message):
    __slots__ = ("id", "expected_generation")
    ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    id: int
    expected_generation: int
    def __init__(self, id: _Optional[int] = ..., expected_generation: _Optional[int] = ...) -> None: ...

class ListRulesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRulesResponse(_message.Message):
    __slots__ = ("rules", "generation")
    RULES_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[IdsRule]
    generation: int
    def __init__(self, rules: _Optional[_Iterable[_Union[IdsRule, _Mapping]]] = ..., generation: _Optional[int] = ...) -> None: ...

class StreamAlertsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Alert(_message.Message):
    __slots__ = ("id", "time", "rule_id", "message", "severity", "client", "trace_id", "span_id", "join", "method", "host", "url")
    class Join(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        JOIN_UNSPECIFIED: _ClassVar[Alert.Join]
        JOIN_TRACE_ID: _ClassVar[Alert.Join]
        JOIN_FLOW_TRANSACTION: _ClassVar[Alert.Join]
        JOIN_ADDRESS_TIME: _ClassVar[Alert.Join]
        JOIN_NONE: _ClassVar[Alert.Join]
    JOIN_UNSPECIFIED: Alert.Join
    JOIN_TRACE_ID: Alert.Join
    JOIN_FLOW_TRANSACTION: Alert.Join
    JOIN_ADDRESS_TIME: Alert.Join
    JOIN_NONE: Alert.Join
    ID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    RULE_ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    JOIN_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    id: str
    time: _timestamp_pb2.Timestamp
    rule_id: int
    message: str
    severity: int
    client: str
    trace_id: str
    span_id: str
    join: Alert.Join
    method: str
    host: str
    url: str
    def __init__(self, id: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., rule_id: _Optional[int] = ..., message: _Optional[str] = ..., severity: _Optional[int] = ..., client: _Optional[str] = ..., trace_id: _Optional[str] = ..., span_id: _Optional[str] = ..., join: _Optional[_Union[Alert.Join, str]] = ..., method: _Optional[str] = ..., host: _Optional[str] = ..., url: _Optional[str] = ...) -> None: ...

class BlockRequest(_message.Message):
    __slots__ = ("address", "duration", "reason")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    address: str
    duration: _duration_pb2.Duration
    reason: str
    def __init__(self, address: _Optional[str] = ..., duration: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class BlockResponse(_message.Message):
    __slots__ = ("block",)
    BLOCK_FIELD_NUMBER: _ClassVar[int]
    block: BlockEntry
    def __init__(self, block: _Optional[_Union[BlockEntry, _Mapping]] = ...) -> None: ...

class BlockEntry(_message.Message):
    __slots__ = ("address", "reason", "since", "until", "alert_ids", "trace_id")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    ALERT_IDS_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    address: str
    reason: str
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    alert_ids: _containers.RepeatedScalarFieldContainer[str]
    trace_id: str
    def __init__(self, address: _Optional[str] = ..., reason: _Optional[str] = ..., since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., alert_ids: _Optional[_Iterable[str]] = ..., trace_id: _Optional[str] = ...) -> None: ...

class UnblockRequest(_message.Message):
    __slots__ = ("address",)
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    address: str
    def __init__(self, address: _Optional[str] = ...) -> None: ...

class UnblockResponse(_message.Message):
    __slots__ = ("unblocked",)
    UNBLOCKED_FIELD_NUMBER: _ClassVar[int]
    unblocked: bool
    def __init__(self, unblocked: _Optional[bool] = ...) -> None: ...

class ListBlocksRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListBlocksResponse(_message.Message):
    __slots__ = ("blocks",)
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    blocks: _containers.RepeatedCompositeFieldContainer[BlockEntry]
    def __init__(self, blocks: _Optional[_Iterable[_Union[BlockEntry, _Mapping]]] = ...) -> None: ...

class ReportAlertsRequest(_message.Message):
    __slots__ = ("alerts", "reporter")
    ALERTS_FIELD_NUMBER: _ClassVar[int]
    REPORTER_FIELD_NUMBER: _ClassVar[int]
    alerts: _containers.RepeatedCompositeFieldContainer[Alert]
    reporter: str
    def __init__(self, alerts: _Optional[_Iterable[_Union[Alert, _Mapping]]] = ..., reporter: _Optional[str] = ...) -> None: ...

class ReportAlertsResponse(_message.Message):
    __slots__ = ("duplicates", "blocked")
    DUPLICATES_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_FIELD_NUMBER: _ClassVar[int]
    duplicates: int
    blocked: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, duplicates: _Optional[int] = ..., blocked: _Optional[_Iterable[str]] = ...) -> None: ...

class UploadFileRequest(_message.Message):
    __slots__ = ("path", "expected_generation", "chunk")
    PATH_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    path: str
    expected_generation: int
    chunk: bytes
    def __init__(self, path: _Optional[str] = ..., expected_generation: _Optional[int] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class DeleteFileRequest(_message.Message):
    __slots__ = ("path", "expected_generation")
    PATH_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_GENERATION_FIELD_NUMBER: _ClassVar[int]
    path: str
    expected_generation: int
    def __init__(self, path: _Optional[str] = ..., expected_generation: _Optional[int] = ...) -> None: ...

class ListFilesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListFilesResponse(_message.Message):
    __slots__ = ("files",)
    FILES_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[File]
    def __init__(self, files: _Optional[_Iterable[_Union[File, _Mapping]]] = ...) -> None: ...

class File(_message.Message):
    __slots__ = ("path", "bytes", "sha256")
    PATH_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    path: str
    bytes: int
    sha256: str
    def __init__(self, path: _Optional[str] = ..., bytes: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...
