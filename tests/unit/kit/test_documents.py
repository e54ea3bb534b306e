"""YAML text becomes plain data that knows its places, or problems that know theirs."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clover.errors import DocumentError, Problem
from clover.kit import documents
from clover.kit.documents import Document


def parse_one(text: str) -> Document:
    (document,) = documents.parse(text, "f.yaml")
    return document


def problems_in(text: str) -> tuple[Problem, ...]:
    with pytest.raises(DocumentError) as caught:
        documents.parse(text, "f.yaml")
    return caught.value.problems


def only_problem_in(text: str) -> Problem:
    (problem,) = problems_in(text)
    return problem


class TestData:
    def test_documents_are_separated_and_empty_ones_are_left_out(self):
        found = documents.parse("a: 1\n---\n# nothing here\n---\nb: [x, {c: d}]\n", "f.yaml")

        assert [document.data for document in found] == [{"a": 1}, {"b": ["x", {"c": "d"}]}]

    @pytest.mark.parametrize("text", ["", "\n", "# only a comment\n", "---\n---\n", "\ufeff"])
    def test_a_file_without_content_has_no_documents(self, text):
        assert documents.parse(text, "f.yaml") == ()

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("yes", True), ("Off", False), ("~", None), ("", None), ("null", None), ("y", "y"),
            ("1", 1), ("-1", -1), ("010", 8), ("0o10", 8), ("0x10", 16), ("0b11", 3), ("1_000", 1000),
            ("089", "089"), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("-", None),
            ("12:30", "12:30"), ("2024-01-31", "2024-01-31"), ("1.2.3", "1.2.3"), ("5s", "5s"),
            ("'1'", "1"), ('"yes"', "yes"), ("''", ""), (str(2**63 - 1), 2**63 - 1),
        ],
    )  # fmt: skip
    def test_a_plain_scalar_means_what_it_means_to_kubernetes(self, written, meant):
        if written == "-":
            assert parse_one("a:\n  -").data == {"a": [meant]}
        else:
            assert parse_one(f"a: {written}").data == {"a": meant}

    def test_a_byte_order_mark_is_not_content(self):
        assert parse_one("\ufeffa: 1").data == {"a": 1}

    def test_an_alias_repeats_the_value_without_sharing_it(self):
        data = parse_one("a: &x {n: [1]}\nb: *x\n").data

        data["a"]["n"].append(2)

        assert data["b"] == {"n": [1]}

    def test_an_anchor_ends_with_its_document(self):
        assert only_problem_in("a: &x 1\n---\nb: *x\n").code == "CLV1008"


class TestMarks:
    TEXT = "a: 1\nb:\n  c: [x, {y: z}]\n  d:\n    - e: 5\n"

    @pytest.mark.parametrize(
        ("path", "value", "key"),
        [
            ((), "1:1", "1:1"),
            (("a",), "1:4", "1:1"),
            (("b",), "3:3", "2:1"),
            (("b", "c"), "3:6", "3:3"),
            (("b", "c", 1), "3:10", "3:10"),
            (("b", "c", 1, "y"), "3:14", "3:11"),
            (("b", "d", 0, "e"), "5:10", "5:7"),
        ],
    )
    def test_a_value_and_its_key_each_have_their_place(self, path, value, key):
        document = parse_one(self.TEXT)

        assert str(document.mark(path)) == f"f.yaml:{value}"
        assert str(document.mark(path, key=True)) == f"f.yaml:{key}"

    @pytest.mark.parametrize(
        ("path", "nearest"),
        [
            (("zz",), "1:1"),
            (("b", "zz", 3), "2:1"),
            (("b", "c", 9), "3:3"),
            (("b", "c", -1), "3:3"),
            (("a", 0), "1:1"),
            (("b", "c", "x"), "3:3"),
        ],
    )
    def test_a_path_that_does_not_exist_is_answered_with_its_nearest_ancestor(self, path, nearest):
        assert str(parse_one(self.TEXT).mark(path)) == f"f.yaml:{nearest}"

    def test_the_second_document_counts_lines_from_the_start_of_the_file(self):
        _, second = documents.parse("a: 1\n---\nb: 2\n", "f.yaml")

        assert str(second.mark(("b",))) == "f.yaml:3:4"


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "code", "where"),
        [
            ("a: b: c", "CLV1004", "f.yaml:1:5"),
            ("a: [1", "CLV1004", "f.yaml:2:1"),
            ("a:\n\tb: 1", "CLV1004", "f.yaml:2:1"),
            ("%YAML 9.0\n---\na: 1", "CLV1004", "f.yaml:1:1"),
            ('a: "\\ud800"', "CLV1004", "f.yaml:1:7"),
            ("a: 1\nb: 2\na: 3", "CLV1005", "f.yaml:3:1"),
            ("a: 1\n2.5: 3", "CLV1006", "f.yaml:2:1"),
            ("on: 1", "CLV1006", "f.yaml:1:1"),
            ("? [a]\n: b", "CLV1006", "f.yaml:1:3"),
            ("a: !!python/object:os.system x", "CLV1007", "f.yaml:1:4"),
            ("a: ! x", "CLV1007", "f.yaml:1:4"),
            ("a: *x", "CLV1008", "f.yaml:1:4"),
            ("a: &x [*x]", "CLV1008", "f.yaml:1:8"),
            ("a: &x {b: 1}\nc: {<<: *x}", "CLV1008", "f.yaml:2:5"),
            ("a: " + "[" * 100_000, "CLV1009", "f.yaml:1:67"),
            ("just text", "CLV1010", "f.yaml:1:1"),
            ("- a\n- b", "CLV1010", "f.yaml:1:1"),
            ("a: .inf", "CLV1011", "f.yaml:1:4"),
            ("a: " + "9" * 10_000, "CLV1011", "f.yaml:1:4"),
            ("a: 1\nb: \0", "CLV1002", "f.yaml:2:4"),
            ("a: \ud800", "CLV1002", "f.yaml:1:4"),
            ('a: "\\0"', "CLV1002", "f.yaml:1:4"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_read_is_refused_at_its_place(self, text, code, where):
        problem = only_problem_in(text)

        assert (problem.code, problem.where) == (code, where)

    def test_all_problems_are_reported_at_once(self):
        assert [problem.code for problem in problems_in("a: 1\na: 2\n3.5: !x 4\nb: *y\n")] == [
            "CLV1005", "CLV1007", "CLV1006", "CLV1008",
        ]  # fmt: skip

    def test_a_whole_number_is_a_name_as_on_kubernetes(self):
        (document,) = documents.parse("ports: {8080: a}", "f.yaml")

        assert document.data == {"ports": {"8080": "a"}}
        assert str(document.mark(("ports", "8080"))) == "f.yaml:1:15"

    def test_a_duplicate_says_where_the_first_is(self):
        assert only_problem_in("x:\n  a: 1\n  a: 2").hint == "it is first written on line 2; keep one"

    def test_a_tab_is_called_a_tab(self):
        assert "indented with a tab" in only_problem_in("a:\n  b: 1\n\tc: 2").what

    def test_a_quoted_merge_key_is_a_name_like_any_other(self):
        assert parse_one("'<<': 1").data == {"<<": 1}

    def test_aliases_that_swell_are_refused_before_they_do(self):
        bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
            f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 30)
        )

        assert only_problem_in(bomb).code == "CLV1008"

    def test_a_file_over_the_limit_is_refused_unparsed(self):
        assert only_problem_in("a: " + "x" * documents.MAX_BYTES).code == "CLV1003"

    def test_a_character_outside_ascii_counts_with_all_its_bytes(self):
        assert only_problem_in("a: " + "€" * (documents.MAX_BYTES // 3)).code == "CLV1003"

    def test_of_very_many_problems_the_first_are_shown_and_that_there_are_more(self):
        *first, last = problems_in("a: 1\n" * 1000)

        assert len(first) == documents.MAX_PROBLEMS
        assert {problem.code for problem in first} == {"CLV1005"}
        assert last.code == "CLV1012"


class TestFiles:
    def refusal(self, path: Path) -> Problem:
        with pytest.raises(DocumentError) as caught:
            documents.load(path)
        (problem,) = caught.value.problems
        return problem

    def test_a_file_is_read_under_its_own_name(self, tmp_path):
        file = tmp_path / "f.yaml"
        file.write_text("a: 1")

        (document,) = documents.load(file)

        assert document.data == {"a": 1}
        assert str(document.mark(("a",))) == f"{file}:1:4"

    def test_a_file_that_does_not_exist_is_refused(self, tmp_path):
        assert self.refusal(tmp_path / "none.yaml").what.endswith("does not exist")

    def test_a_folder_is_not_a_file(self, tmp_path):
        assert self.refusal(tmp_path).what.endswith("is a folder, not a file")

    @pytest.mark.parametrize("name", ["a" * 300, "a\0b", "\ud800"])
    def test_a_name_that_no_file_can_have_is_refused(self, tmp_path, name):
        assert self.refusal(tmp_path / name).code == "CLV1001"

    def test_a_file_below_a_file_is_refused(self, tmp_path):
        (tmp_path / "f").write_text("")

        assert self.refusal(tmp_path / "f" / "g").code == "CLV1001"

    def test_a_device_without_end_is_read_no_further_than_the_limit(self):
        assert self.refusal(Path("/dev/zero")).code == "CLV1003"

    def test_bytes_that_are_not_utf8_are_refused_where_they_stand(self, tmp_path):
        file = tmp_path / "f.yaml"
        file.write_bytes("a: 1\nü: \xff".encode("latin-1"))

        problem = self.refusal(file)

        assert (problem.code, problem.where) == ("CLV1002", f"{file}:2:1")
        assert "0xfc" in problem.what


_texts = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co", "Zl", "Zp"]))
_scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _texts
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4), max_leaves=20
)


def paths_into(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], object]]:
    yield path, value
    if isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths_into(inner, (*path, step))


def test_an_address_that_ends_in_colons_is_text_as_on_kubernetes():
    (document,) = documents.parse("a: [1.2.3.4, 001:db8::]\nb: {c: ff::}\nd: 'ff::]'\n\ue000: 1\n", "x.yaml")

    assert document.data == {"a": ["1.2.3.4", "001:db8::"], "b": {"c": "ff::"}, "d": "ff::]", "\ue000": 1}
    assert str(document.mark(("a", 1))) == "x.yaml:1:14"


@given(st.dictionaries(_texts, _values, max_size=5))
def test_json_is_read_as_what_it_is(data):
    assert parse_one(json.dumps(data, ensure_ascii=False)).data == data


@given(st.dictionaries(_texts, _values, min_size=1, max_size=5))
def test_every_value_has_the_line_that_it_is_written_on(data):
    lines = json.dumps(data, ensure_ascii=False, indent=1).split("\n")
    document = parse_one("\n".join(lines))

    for path, value in paths_into(data):
        mark = document.mark(path)
        beginning = lines[mark.line - 1][mark.column - 1 :]
        assert beginning.startswith(
            ("{", "[") if isinstance(value, dict | list) else json.dumps(value, ensure_ascii=False)
        )
        if path and isinstance(path[-1], str):
            key = document.mark(path, key=True)
            assert lines[key.line - 1][key.column - 1 :].startswith(json.dumps(path[-1], ensure_ascii=False))


_PIECES = [
    *("a", "b: ", ": ", "- ", "? ", "\n", "\n  ", "\t", "&a ", "*a ", "!x ", "!!str ", "<<: ", "{", "}", "[", "]", ","),
    *("'", '"', "|\n", ">-\n", "#", "---\n", "...\n", "%YAML 1.1\n", "1", "0x", ".inf", "yes", "~", "\\", "\\x", "é"),
    *("\0", "\u2028", "\x85", "\ufeff", "\ud800"),
]


@given(st.text() | st.lists(st.sampled_from(_PIECES)).map("".join))
@example("a: 0x")
@example("a: 0b_")
@example("!<")
def test_any_text_gives_documents_or_problems_with_places(text):
    try:
        found = documents.parse(text, "f.yaml")
    except DocumentError as error:
        places = [problem.where for problem in error.problems]
    else:
        json.dumps([document.data for document in found], allow_nan=False)
        places = [str(document.mark()) for document in found]
    assert all(re.match(r"f\.yaml(:[1-9][0-9]*:[1-9][0-9]*)?$", place) for place in places)


@given(content=st.binary())
def test_any_bytes_give_documents_or_problems(content, tmp_path_factory):
    file = tmp_path_factory.mktemp("bytes") / "f.yaml"
    file.write_bytes(content)

    with contextlib.suppress(DocumentError):
        documents.load(file)
