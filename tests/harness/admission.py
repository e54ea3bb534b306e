"""
What Kubernetes' API server would say about a resource of Istio's: schema and CEL rules of its definitions, run here.

The definitions are Istio's own, read in place beside the repository. Only admission is judged: not what istiod thinks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cel
import jsonschema
import yaml

DEFINITIONS = Path(__file__).parents[3] / "shared" / "conformance" / "istio" / "customresourcedefinitions.yaml"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


def refusals(document: dict[str, Any]) -> list[str]:
    """Return why the API server would refuse a document, unknown fields included, as `kubectl apply` asks it to."""
    schema = schema_of(document)
    if schema is None:
        return [f"no definition of {document.get('apiVersion')} {document.get('kind')}"]
    document = _settled(document, schema)
    wrong = [f"{error.json_path}: {error.message[:200]}" for error in _validator(id(schema)).iter_errors(document)]
    found = [*_metadata(document.get("metadata")), *_unknown(document, schema, "$"), *wrong]
    return found or list(_rules(document, schema, "$"))


def schema_of(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of a document's kind and version; None: there is none."""
    return _schemas().get((str(document.get("apiVersion")), str(document.get("kind"))))


@functools.cache
def _schemas() -> dict[tuple[str, str], dict[str, Any]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found = {}
    for definition in yaml.load_all(DEFINITIONS.read_text(encoding="utf-8"), loader):
        spec = definition["spec"]
        for version in spec["versions"]:
            key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
            found[key] = _with_nulls(version["schema"]["openAPIV3Schema"])
            found[key]["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}
    return found


@functools.cache
def _validator(number: int) -> jsonschema.Draft4Validator:
    return next(jsonschema.Draft4Validator(one) for one in _schemas().values() if id(one) == number)


def _with_nulls(schema: Any) -> Any:
    """Turn Kubernetes' words into JSON Schema's: `nullable`, and numbers that may be text."""
    if isinstance(schema, list):
        return [_with_nulls(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _with_nulls(value) for key, value in schema.items()}
    if found.get("x-kubernetes-int-or-string") is True:
        found["type"] = ["integer", "string"]
    if found.get("nullable") is True and isinstance(found.get("type"), str):
        found["type"] = [found["type"], "null"]
    return found


def _metadata(metadata: Any) -> Iterator[str]:
    name, namespace = metadata.get("name", ""), metadata.get("namespace", "default")
    if not isinstance(name, str) or len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        yield f"metadata.name: {name!r}"
    if not isinstance(namespace, str) or not _LABEL.fullmatch(namespace):
        yield f"metadata.namespace: {namespace!r}"
    for key, value in (metadata.get("labels") or {}).items():
        if not _is_key(key) or not isinstance(value, str) or (value and not _NAME.fullmatch(value)):
            yield f"metadata.labels: {key!r}: {value!r}"
    for key, value in (metadata.get("annotations") or {}).items():
        if not _is_key(key.lower()) or not isinstance(value, str):
            yield f"metadata.annotations: {key!r}: {value!r}"


def _is_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return bool(_NAME.fullmatch(name)) and (not slash or (len(prefix) <= 253 and bool(_SUBDOMAIN.fullmatch(prefix))))


def _unknown(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    properties, more = schema.get("properties", {}), schema.get("additionalProperties")
    keeps = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if isinstance(value, dict):
        for key, item in value.items():
            inner = properties.get(key, more if isinstance(more, dict) else None)
            if inner is not None:
                yield from _unknown(item, inner, f"{path}.{key}")
            elif not keeps and not more and properties:
                yield f"{path}: unknown field {key!r}"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _unknown(item, schema.get("items", {}), f"{path}[{index}]")


def _settled(value: Any, schema: dict[str, Any]) -> Any:
    """Return a value without the nulls that the API server leaves out."""
    if isinstance(value, dict):
        inner = {key: schema.get("properties", {}).get(key, schema.get("additionalProperties")) for key in value}
        return {
            key: _settled(item, inner[key] if isinstance(inner[key], dict) else {})
            for key, item in value.items()
            if item is not None or not isinstance(inner[key], dict) or inner[key].get("nullable")
        }
    if isinstance(value, list):
        return [_settled(item, schema.get("items", {})) for item in value]
    return value


def _rules(value: Any, schema: dict[str, Any], path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        if value is not None and not _holds(rule["rule"], value):
            yield f"{path}: {rule.get('message') or rule['rule']}"
    if isinstance(value, dict):
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key) or schema.get("additionalProperties")
            if isinstance(inner, dict):
                yield from _rules(item, inner, f"{path}.{key}")
    elif isinstance(value, list):
        names = schema.get("x-kubernetes-list-map-keys", ())
        keys = [tuple(item.get(name) for name in names) for item in value] if names else []
        if len(set(keys)) < len(keys):
            yield f"{path}: duplicate value"
        for index, item in enumerate(value):
            yield from _rules(item, schema.get("items", {}), f"{path}[{index}]")


def _holds(rule: str, value: Any) -> bool:
    context = cel.Context({"self": value})
    context.add_function("isURL", _is_url)
    context.add_function("url", lambda text: text)
    context.add_function("getScheme", _scheme)
    context.add_function("substring", _substring)
    try:
        return _program(rule).execute(context) is True
    except (RuntimeError, ValueError, TypeError, LookupError):
        return False  # a rule that cannot be evaluated refuses


@functools.cache
def _program(rule: str) -> cel.Program:
    return cel.compile(rule)


def _is_url(text: str) -> bool:
    """Tell whether Go's `url.ParseRequestURI` takes it, near enough: an absolute address, or a path."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises when it is no number
        host = re.fullmatch(r"[-A-Za-z0-9._~%:@\[\]]*", parts.netloc)
        return bool(parts.scheme or text.startswith("/")) and host is not None and text.isprintable()
    except ValueError:
        return False


def _scheme(text: str) -> str:
    return urlsplit(text).scheme.lower() if _is_url(text) else "none"


def _substring(text: str, start: int, end: int) -> str:
    if not 0 <= start <= end <= len(text):
        raise ValueError(text)
    return text[start:end]
