"""Between messages and configurations nothing is lost, invented, or ignored."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from clover.control import convert
from clover.control._proto import control_pb2
from clover.control.handlers import CallError, Code, Violation
from clover.spec.configuration import MODELS, Configuration
from harness.configurations import configurations


def message(text: str) -> control_pb2.Configuration:
    return text_format.Parse(text, control_pb2.Configuration())


def type_of(configuration: Configuration) -> str:
    return next(name for name, model in MODELS.items() if type(configuration) is model)


def refusal(text: str, type_: str) -> CallError:
    with pytest.raises(CallError) as caught:
        convert.configuration_from(message(text), type_=type_)
    assert caught.value.code is Code.INVALID_ARGUMENT
    return caught.value


@given(configurations)
@settings(max_examples=150, deadline=None)
def test_a_configuration_comes_back_from_its_message_as_it_was(configuration: Configuration):
    sent = convert.message_from(configuration).SerializeToString()
    arrived = control_pb2.Configuration.FromString(sent)

    assert convert.configuration_from(arrived, type_=type_of(configuration)) == configuration


@given(configurations)
@settings(max_examples=60, deadline=None)
def test_a_message_that_was_understood_comes_back_with_its_defaults_filled_in_and_then_stays(
    configuration: Configuration,
):
    first = convert.message_from(configuration)
    second = convert.message_from(convert.configuration_from(first, type_=type_of(configuration)))

    assert second == first


@given(configurations)
@settings(max_examples=60, deadline=None)
def test_what_is_written_down_without_its_defaults_is_the_same_configuration(configuration: Configuration):
    assert type(configuration).model_validate(configuration.as_json()) == configuration


def test_what_is_left_out_has_its_default():
    got = convert.configuration_from(message('cache { backends { host: "web" } }'), type_="cache")

    assert (got.default_ttl, got.grace, got.max_size_mib) == (10.0, 60.0, 256)
    assert (got.backends[0].port, got.backends[0].weight, got.backends[0].state) == (None, 1, "ready")


def test_a_duration_of_zero_that_is_there_is_zero():
    got = convert.configuration_from(message("cache { default_ttl {} grace { nanos: 500000000 } }"), type_="cache")

    assert (got.default_ttl, got.grace) == (0.0, 0.5)


def test_defaults_are_told_to_whoever_asks():
    got = convert.message_from(convert.configuration_from(message("cache {}"), type_="cache"))

    assert got == message("cache { default_ttl { seconds: 10 } grace { seconds: 60 } max_size_mib: 256 }")


def test_an_empty_configuration_of_a_type_still_has_that_type():
    got = convert.message_from(convert.configuration_from(message("ids {}"), type_="ids"))

    assert got.WhichOneof("type") == "ids"


def test_words_of_several_parts_are_the_enums_of_the_message():
    got = convert.configuration_from(
        message(
            'load_balancer { algorithm: ALGORITHM_LEAST_CONNECTIONS backends { host: "a" state: BACKEND_STATE_DRAIN }}'
        ),
        type_="load-balancer",
    )

    assert (got.algorithm, got.backends[0].state) == ("least-connections", "drain")


def test_every_wrong_field_is_named_by_its_path():
    error = refusal(
        'load_balancer { backends { weight: 999 host: "a" } backends { host: "A!" } backends { port: 9 } }',
        "load-balancer",
    )

    assert [violation.field for violation in error.violations] == [
        "load_balancer.backends[0].weight",
        "load_balancer.backends[1].host",
        "load_balancer.backends[2].host",
    ]
    assert error.violations[0].what == "input should be less than or equal to 256; found 999"
    assert error.violations[2].what == "is missing"


def test_a_field_is_named_as_in_the_proto_file_and_not_as_in_json():
    error = refusal("firewall { paranoia_level: 7 block_policy { window { seconds: -1 } } }", "firewall")

    assert [one.field for one in error.violations] == ["firewall.paranoia_level", "firewall.block_policy.window"]


def test_what_is_wrong_with_several_items_together_is_said_of_the_one_too_many():
    error = refusal('load_balancer { backends { host: "a" } backends { host: "a" } }', "load-balancer")

    assert error.violations == (Violation(field="load_balancer.backends[1]", what="names 'a' a second time"),)


def test_an_enum_value_without_a_name_is_refused():
    sent = control_pb2.Configuration()
    sent.load_balancer.algorithm = 77  # type: ignore[assignment]

    with pytest.raises(CallError) as caught:
        convert.configuration_from(sent, type_="load-balancer")

    assert caught.value.violations[0].field == "load_balancer.algorithm"


@pytest.mark.parametrize(("text", "found"), [("cache {}", "found 'cache'"), ("", "found none")])
def test_the_configuration_of_another_type_is_refused_and_the_right_one_is_named(text: str, found: str):
    error = refusal(text, "load-balancer")

    assert str(error) == f"the function is a load-balancer: expected 'load_balancer', {found}"


def test_a_field_that_only_a_newer_client_knows_is_refused_and_not_ignored():
    sent = control_pb2.Configuration.FromString(
        control_pb2.Configuration(
            load_balancer=control_pb2.LoadBalancerConfiguration.FromString(
                control_pb2.Backend(host="web").SerializeToString().replace(b"\x0a", b"\xfa\x07", 1)
            )
        ).SerializeToString()
    )

    with pytest.raises(CallError) as caught:
        convert.configuration_from(sent, type_="load-balancer")

    assert caught.value.violations == (
        Violation(field="load_balancer", what="has the field number 127, which this version does not know"),
    )


def test_a_long_wrong_value_is_not_repeated_whole():
    error = refusal(f'load_balancer {{ backends {{ host: "{"x" * 5000}!" }} }}', "load-balancer")

    assert len(error.violations[0].what) < 200


@given(st.binary(max_size=300), st.sampled_from(sorted(MODELS)))
@settings(max_examples=150, deadline=None)
def test_any_message_is_either_understood_or_refused_in_words(payload: bytes, type_: str):
    inner = getattr(control_pb2.Configuration(), type_.replace("-", "_"))
    try:
        inner.ParseFromString(payload)
    except DecodeError:
        return
    sent = control_pb2.Configuration(**{type_.replace("-", "_"): inner})
    try:
        got = convert.configuration_from(sent, type_=type_)
    except CallError as failure:
        refused = failure.violations
    else:
        refused = ()
        assert convert.configuration_from(convert.message_from(got), type_=type_) == got
    assert refused or got


@given(st.integers(0, 700_000_000_000))
def test_a_length_of_time_is_kept_to_the_microsecond(microseconds: int):
    duration = Duration()
    convert.set_seconds(duration, microseconds / 1e6)

    assert convert.seconds_from(duration) == microseconds / 1e6


def fields(message: Any, model: type[BaseModel]) -> Iterator[tuple[Any, Any, type[BaseModel]]]:
    for field in message.fields:
        yield field, model.model_fields[field.name], model
        inner = [t for t in _models(model.model_fields[field.name].annotation)]
        if inner:
            yield from fields(field.message_type, inner[0])


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models(argument)


@pytest.mark.parametrize("type_", sorted(MODELS))
def test_the_message_and_the_model_of_a_type_have_the_same_fields_all_the_way_down(type_: str):
    def compare(descriptor: Any, model: type[BaseModel]) -> None:
        assert {field.name for field in descriptor.fields} == set(model.model_fields)
        for field in descriptor.fields:
            alias = model.model_fields[field.name].alias
            assert field.camelcase_name == alias == field.json_name
            for inner in _models(model.model_fields[field.name].annotation):
                compare(field.message_type, inner)

    compare(control_pb2.Configuration.DESCRIPTOR.fields_by_name[type_.replace("-", "_")].message_type, MODELS[type_])


@pytest.mark.parametrize("type_", sorted(MODELS))
def test_where_zero_cannot_be_told_from_left_out_zero_is_not_a_value(type_: str):
    top = control_pb2.Configuration.DESCRIPTOR.fields_by_name[type_.replace("-", "_")].message_type
    for field, info, model in fields(top, MODELS[type_]):
        if field.is_repeated or field.message_type or field.enum_type or info.is_required() or not info.default:
            continue
        zero = "" if field.cpp_type == field.CPPTYPE_STRING else 0
        with pytest.raises(ValueError, match=info.alias):
            model.model_validate({info.alias: zero})
