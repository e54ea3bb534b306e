"""What a chain must obey beyond its shape: each rule a function from a chain to problems."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from clover.errors import Mark, Problem
from clover.spec.chain import CONTROL_PORT, Chain, Function, FunctionType, Version, workload_name
from clover.spec.document import LABEL_PATTERN, MAX_NAME_LENGTH, NAME_PATTERN
from clover.spec.engines import COMMAND, ENGINES
from clover.spec.nearest import did_you_mean

MAX_WORKLOADS = 64
"""Most workloads of one chain: each is a network namespace, a proxy and an engine."""
RESERVED_NAMES = {
    "gateway": "the gateway is a workload of every chain",
    "control-agent": "the control agent is a workload of every chain",
    "localhost": "the name always means the machine itself",
}
_TWICE = "name it once; a 'weight' in its backends, or a VirtualService, can give it more"
SIDECAR_PORTS = range(15000, 15091)
"""What sidecars listen on themselves, as on Istio."""

ENDS = (FunctionType.SERVER, FunctionType.IDS)
"""The types that requests, or copies of them, end at."""

_Rule = Callable[[Chain], Iterator[Problem]]


def check(chain: Chain, *, unreadable: frozenset[str] = frozenset()) -> Iterator[Problem]:
    """
    Yield every problem of `chain`, in the order of its rules.

    `unreadable` names functions that are written, but too wrong to be in `chain`; so may `gateway` be. They count as
    existing, so that one mistake is not reported as several.
    """
    if too_large := tuple(fits_one_machine(chain)):
        yield from too_large
        return
    rules: Iterable[_Rule] = (
        lambda chain: something_runs(chain, unreadable=unreadable),
        names_are_labels,
        names_are_free,
        engines_exist,
        commands_belong_to_servers,
        ports_are_free,
        lambda chain: targets_exist(chain, unreadable=unreadable),
        targets_are_named_once,
        only_servers_and_ids_end_the_chain,
        only_copies_reach_an_ids,
        copies_go_elsewhere,
        lambda chain: backends_fit_their_targets(chain, unreadable=unreadable),
        commands_are_told_nothing,
        targets_form_no_cycle,
        lambda chain: every_function_is_reachable(chain, unreadable=unreadable),
    )
    for rule in rules:
        yield from rule(chain)


def fits_one_machine(chain: Chain) -> Iterator[Problem]:
    """Each workload costs a namespace, a proxy and an engine, so their number has a limit."""
    count = sum(len(function.versions) for function in chain.functions.values())
    if count > MAX_WORKLOADS:
        yield _problem(
            "CLV1217",
            chain.mark,
            f"chain {chain.name!r} has {count} workloads, expected {MAX_WORKLOADS} at most",
            "split it into two chains",
        )


def something_runs(chain: Chain, *, unreadable: frozenset[str] = frozenset()) -> Iterator[Problem]:
    """A chain without functions has nothing to send requests to."""
    if not chain.functions and not unreadable:
        yield _problem("CLV1218", chain.mark, f"chain {chain.name!r} has no functions", "add one to spec.functions")


def names_are_labels(chain: Chain) -> Iterator[Problem]:
    """Names become host names, labels and file names, here and on a cluster."""
    yield from _label("chain", chain.name, chain.mark, NAME_PATTERN, "begin with a letter, ")
    yield from _label("namespace", chain.namespace, chain.namespace_mark or chain.mark, LABEL_PATTERN, "")
    for function in chain.functions.values():
        yield from _label("function", function.name, function.mark, NAME_PATTERN, "begin with a letter, ")
        for version in function.versions:
            subject = f"function {function.name!r}: version"
            yield from _label(subject, version.name, version.mark, LABEL_PATTERN, "")


def names_are_free(chain: Chain) -> Iterator[Problem]:
    """No two workloads may have one name, and some names are taken."""
    owners: dict[str, Function] = {}
    for function, version in chain.workloads():
        name = workload_name(function, version)
        if reason := RESERVED_NAMES.get(function.name) or RESERVED_NAMES.get(name):
            yield _problem("CLV1211", version.mark, f"function {function.name!r} has a name that is taken: {reason}")
        elif name in owners:
            yield _problem(
                "CLV1212",
                version.mark,
                f"function {function.name!r} and function {owners[name].name!r} both have a workload {name!r}",
                "rename one of them",
            )
        owners.setdefault(name, function)


def engines_exist(chain: Chain) -> Iterator[Problem]:
    """Every engine can do the work of its function's type, and each of several versions says which it is."""
    for function, version in chain.workloads():
        known = ENGINES[function.type]
        if not version.engine:
            yield _problem(
                "CLV1203",
                version.mark,
                f"version {version.name!r} of function {function.name!r} has no engine; "
                "each of several versions names its own",
                f"add 'engine: {known[0]}'" if len(known) == 1 else f"add 'engine:' with one of {_list(known)}",
            )
        elif version.engine not in known and not (version.engine == COMMAND and version.command):
            hint = f"engines of {_article(function.type)}: {_list(known)}"
            others = {name for names in ENGINES.values() for name in names}
            yield _problem(
                "CLV1202",
                version.engine_mark or version.mark,
                f"function {function.name!r} is {_article(function.type)}, which has no engine {version.engine!r}",
                hint if version.engine in others else f"{did_you_mean(version.engine, known)} {hint}".strip(),
            )


def commands_belong_to_servers(chain: Chain) -> Iterator[Problem]:
    """Only a server runs its author's own program, and then nothing else."""
    for function, version in chain.workloads():
        mark = version.engine_mark or version.mark
        if version.engine == COMMAND and COMMAND in ENGINES[function.type] and not version.command:
            yield _problem(
                "CLV1215",
                mark,
                f"function {function.name!r} has the engine 'command' and no command",
                "add 'command:' with the program and its arguments",
            )
        elif version.command and function.type is not FunctionType.SERVER:
            yield _problem(
                "CLV1215",
                mark,
                f"function {function.name!r} is {_article(function.type)}; only a server runs a command",
                f"remove 'command', or write 'type: {FunctionType.SERVER}'",
            )
        elif version.command and version.engine != COMMAND:
            yield _problem(
                "CLV1215",
                mark,
                f"function {function.name!r} has both the engine {version.engine!r} and a command",
                "remove one of them",
            )
        elif version.command and not version.command[0].strip():
            yield _problem("CLV1215", mark, f"function {function.name!r} has a command whose program is empty")


def ports_are_free(chain: Chain) -> Iterator[Problem]:
    """Beside a function listen its ambassador and its sidecar."""
    for function in chain.functions.values():
        taken = (
            "its ambassador's"
            if function.port == CONTROL_PORT
            else "one of its sidecar's"
            if function.port in SIDECAR_PORTS
            else ""
        )
        if taken:
            yield _problem(
                "CLV1213",
                function.port_mark or function.mark,
                f"function {function.name!r} listens on port {function.port}, which is {taken}",
                f"ports {CONTROL_PORT} and {SIDECAR_PORTS[0]} to {SIDECAR_PORTS[-1]} are taken; choose another",
            )


def targets_exist(chain: Chain, *, unreadable: frozenset[str] = frozenset()) -> Iterator[Problem]:
    """The gateway, functions and mirrors can only send to functions of the same chain."""
    known = {*chain.functions, *unreadable}
    for sender, target, mark, sends in _edges(chain, unreadable):
        if target in known:
            continue
        hint = f"functions of this chain: {_list(sorted(known))}" if known else ""
        yield _problem(
            "CLV1204",
            mark,
            f"{sender} {sends} to {_show(target)}, which is not in the chain",
            did_you_mean(target, known, otherwise=hint),
        )


def targets_are_named_once(chain: Chain) -> Iterator[Problem]:
    """A target that is written twice would look like a weight, which route rules are for."""
    for function, version in chain.workloads():
        for place, target in enumerate(version.to):
            if target in version.to[:place]:
                yield _problem(
                    "CLV1208",
                    version.to_marks[place],
                    f"function {function.name!r} sends to {target!r} twice",
                    _TWICE,
                )


def only_servers_and_ids_end_the_chain(chain: Chain) -> Iterator[Problem]:
    """A server answers, an intrusion detection system looks; everything else sends on."""
    for function, version in chain.workloads():
        subject = _subject(function, version)
        if function.type in ENDS and version.to:
            does = "a server answers by itself" if function.type is FunctionType.SERVER else "an ids answers nobody"
            yield _problem(
                "CLV1207",
                version.to_marks[0],
                f"{subject} is {_article(function.type)} and sends to {_show(version.to[0])}; {does}",
                "remove 'to', or choose another type",
            )
        if function.type not in ENDS and not version.to:
            yield _problem(
                "CLV1206",
                version.mark,
                f"{subject} is {_article(function.type)} and sends nowhere",
                "add 'to:' with the function that gets its requests",
            )


def only_copies_reach_an_ids(chain: Chain) -> Iterator[Problem]:
    """An intrusion detection system gets copies: what is sent to it as if it were a server gets no answer."""
    for sender, target, mark, sends in _edges(chain, frozenset()):
        function = chain.functions.get(target)
        if function is None or function.type is not FunctionType.IDS or sends == "mirrors":
            continue
        if sender == "the gateway":
            hint = f"send to the first function, and give it 'mirrorTo: {target}'"
        else:
            hint = f"write 'mirrorTo: {target}' in the function whose requests it shall see"
        yield _problem(
            "CLV1222",
            mark,
            f"{sender} sends to {target!r}, which is an ids: it looks at copies and answers nobody",
            hint,
        )


def copies_go_elsewhere(chain: Chain) -> Iterator[Problem]:
    """A function that gets the requests does not need a copy of them, too."""
    for function in chain.functions.values():
        if function.mirror_to is not None and function.mirror_to in function.upstreams:
            yield _problem(
                "CLV1225",
                function.mirror_mark or function.mark,
                f"function {function.name!r} both sends and mirrors to {_show(function.mirror_to)}, "
                "which gets each of these requests twice",
                "mirror to another function, or remove 'mirrorTo'",
                severity="warning",
            )


def backends_fit_their_targets(chain: Chain, *, unreadable: frozenset[str] = frozenset()) -> Iterator[Problem]:
    """The backends of a `config` are among its `to`, each once, and dialled where they listen."""
    for function, version in chain.workloads():
        seen: set[str] = set()
        subject = _subject(function, version)
        for backend, mark in zip(getattr(version.configuration, "backends", ()), version.backend_marks, strict=False):
            target = chain.functions.get(backend.host)
            if backend.host not in version.to and (target or backend.host in unreadable):
                yield _problem(
                    "CLV1221",
                    mark,
                    f"{subject} has the backend {_show(backend.host)}, which is not in its 'to'",
                    "add it to 'to', or remove 'to': the backends say where requests go",
                )
            if target and backend.port not in (None, target.port):
                yield _problem(
                    "CLV1223",
                    mark,
                    f"{subject} dials the backend {backend.host!r} on port {backend.port}, "
                    f"and function {backend.host!r} listens on {target.port}",
                    "remove 'port'",
                )
            if backend.host in seen:
                yield _problem("CLV1208", mark, f"{subject} has the backend {backend.host!r} twice", _TWICE)
            seen.add(backend.host)


def commands_are_told_nothing(chain: Chain) -> Iterator[Problem]:
    """An author's own program has no configuration that Clover could bring into force."""
    for function, version in chain.workloads():
        if version.command and version.config_mark is not None:
            yield _problem(
                "CLV1224",
                version.config_mark,
                f"{_subject(function, version)} runs a command and has a 'config', which only Clover's engines follow",
                "remove 'config', or 'command'",
            )


def targets_form_no_cycle(chain: Chain) -> Iterator[Problem]:
    """A request, or a copy of it, must come to an end; each cycle is reported once, as a path."""
    done: set[str] = set()
    for start in chain.functions:
        if start in done:
            continue
        path, branches = [start], [_next(chain, start)]
        while branches:
            target, mark = next(branches[-1], ("", chain.mark))
            if not target:
                done.add(path.pop())
                branches.pop()
            elif target in path:
                cycle = [*path[path.index(target) :], target]
                yield _problem(
                    "CLV1205",
                    mark,
                    f"function {path[-1]!r} sends back to where its requests come from: {' → '.join(cycle)}",
                    "remove one of these steps",
                )
            elif target not in done and target in chain.functions:
                path.append(target)
                branches.append(_next(chain, target))


def every_function_is_reachable(chain: Chain, *, unreadable: frozenset[str] = frozenset()) -> Iterator[Problem]:
    """A function that no request can reach is a mistake, though a harmless one."""
    if unreadable or tuple(targets_exist(chain)):
        return  # what is wrong may well be what should lead there
    reached = {chain.gateway.to, *chain.authorizers()}
    waiting = list(reached)
    while waiting:
        for target, _ in _next(chain, waiting.pop()):
            if target not in reached:
                reached.add(target)
                waiting.append(target)
    for function in chain.functions.values():
        if function.name not in reached:
            yield _problem(
                "CLV1214",
                function.mark,
                f"function {function.name!r} gets no requests: nothing leads to it from the gateway",
                f"name it in a {'mirrorTo' if function.type is FunctionType.IDS else 'to'!r}, or remove it",
                severity="warning",
            )


def _edges(chain: Chain, unreadable: frozenset[str]) -> Iterator[tuple[str, str, Mark, str]]:
    """Yield who sends, to which name, where that is written, and the verb."""
    if "gateway" not in unreadable:
        yield "the gateway", chain.gateway.to, chain.gateway.to_mark, "sends"
    for function in chain.functions.values():
        for version in function.versions:
            if function.type in ENDS:
                continue  # `only_servers_and_ids_end_the_chain` says what is wrong
            for target, mark in _targets(version):
                yield _subject(function, version), target, mark, "sends"
        if function.mirror_to is not None:
            yield f"function {function.name!r}", function.mirror_to, function.mirror_mark or function.mark, "mirrors"


def _targets(version: Version) -> Iterator[tuple[str, Mark]]:
    """Yield each name that a version sends to, and where: those of `to`, then the backends that are not among them."""
    yield from zip(version.to, version.to_marks, strict=True)
    for backend, mark in zip(getattr(version.configuration, "backends", ()), version.backend_marks, strict=False):
        if backend.host not in version.to:
            yield backend.host, mark


def _next(chain: Chain, name: str) -> Iterator[tuple[str, Mark]]:
    """Yield each function that `name` sends or mirrors to, once, and where that is written."""
    function = chain.functions.get(name)
    if function is None:
        return
    steps: dict[str, Mark] = {}
    for version in function.versions:
        for target, mark in _targets(version):
            steps.setdefault(target, mark)
    if function.mirror_to is not None:
        steps.setdefault(function.mirror_to, function.mirror_mark or function.mark)
    yield from ((target, mark) for target, mark in steps.items() if target)


def _label(subject: str, name: str, mark: Mark, pattern: str, begin: str) -> Iterator[Problem]:
    if len(name) <= MAX_NAME_LENGTH and re.fullmatch(pattern, name):
        return
    plain = re.sub("[^a-z0-9]+", "-", name.lower())[:MAX_NAME_LENGTH].strip("-")
    example = f"; e.g. {plain!r}" if re.fullmatch(pattern, plain) else ""
    yield _problem(
        "CLV1210",
        mark,
        f"{subject} {_show(name)} has a name that cannot be a host name",
        f"names {begin}have lower-case letters, digits and '-' inside, end with a letter or digit, "
        f"and have {MAX_NAME_LENGTH} characters at most{example}",
    )


def _subject(function: Function, version: Version) -> str:
    if len(function.versions) == 1:
        return f"function {function.name!r}"
    return f"version {version.name!r} of function {function.name!r}"


def _article(type_: FunctionType) -> str:
    return f"an {type_}" if type_ is FunctionType.IDS else f"a {type_}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _show(name: str) -> str:
    """Quote a name, cut when it is longer than any name may be."""
    return repr(name if len(name) <= 2 * MAX_NAME_LENGTH else f"{name[:MAX_NAME_LENGTH]}…")


def _problem(code: str, mark: Mark, what: str, hint: str = "", *, severity: str = "error") -> Problem:
    return Problem(code=code, where=str(mark), what=what, hint=hint, severity=severity)
