"""A regular expression that is accepted compiles in the engine's own library, and finds there what its author meant.

ModSecurity says nothing when one does not compile: the rule is there, and never applies.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest
import re2
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clover.functions.modsecurity import rules

pytestmark = pytest.mark.engines

_DOTALL, _MULTILINE = 0x20, 0x400


class Pcre:
    """The library that ModSecurity compiles expressions with, as ModSecurity calls it."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libpcre2-8.so.0")
        self._compile = self._library.pcre2_compile_8
        self._compile.restype = ctypes.c_void_p
        self._compile.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint32),
            *(ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_size_t), ctypes.c_void_p),
        ]
        self._data = self._library.pcre2_match_data_create_from_pattern_8
        self._data.restype = ctypes.c_void_p
        self._data.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        self._match = self._library.pcre2_match_8
        self._match.argtypes = [
            *(ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t),
            *(ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p),
        ]
        self._library.pcre2_code_free_8.argtypes = [ctypes.c_void_p]
        self._library.pcre2_match_data_free_8.argtypes = [ctypes.c_void_p]

    def finds(self, pattern: str, texts: list[bytes]) -> list[bool] | None:
        """Return in which texts the pattern is found; None: it does not compile."""
        error, place = ctypes.c_int(), ctypes.c_size_t()
        code = self._compile(
            *(pattern.encode(), len(pattern), _DOTALL | _MULTILINE, ctypes.byref(error), ctypes.byref(place), None)
        )
        if not code:
            return None
        data = self._data(code, None)
        found = [self._match(code, text, len(text), 0, 0, data, None) >= 0 for text in texts]
        self._library.pcre2_match_data_free_8(data)
        self._library.pcre2_code_free_8(code)
        return found


@pytest.fixture(scope="module")
def pcre() -> Iterator[Pcre]:
    try:
        yield Pcre()
    except OSError as failure:
        pytest.skip(str(failure))


fragments = st.sampled_from(
    [
        *"ab01.*+?()[]{}|^$\\-,:=!<>#\"'% `/&~@_;",
        *(f"\\{letter}" for letter in "abdDwWsSzAZBnrtfvxpPQECKNRXGhHuUlLceogk0178.[]()\"'%-`_ ~"),
        *(
            "{2}",
            "{1,3}",
            "{,3}",
            "{2,}",
            "(?:",
            "(?i)",
            "(?s)",
            "(?U)",
            "(?P<n>",
            "(?<n>",
            "(?-s:",
            "(?m)",
            "(?#",
            "(?|",
        ),
        *("(?R)", "(?=", "(?>", "(*UTF)", "++", "*+", "?+", "%{ARGS}", "[:alpha:]", "[[:alpha:]]", "[^", "[a-z]", "[]"),
        *(r"[\d-z]", "[[:^word:]]", "[.a.]", "[=a=]", r"\x41", r"\x{41}", r"\x{10ffff}", r"\p{Greek}", r"\pL", r"\123"),
    ]
)
expressions = st.lists(fragments, min_size=1, max_size=8).map("".join)
texts = st.text(alphabet="ab01.- \"'%\\\n_[]AZz{}x41:,", max_size=8).map(str.encode)


@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(written=expressions, where=st.lists(texts, min_size=3, max_size=3))
@example(written=r"\\\"'[\\\"'% ]\%{ARGS}", where=[b"\\\"'% {ARGS}", b'\\"\'"%{ARGS}', b""])
@example(written=r"[.a.]b[=a=]c[:a:]", where=[b".b=c:", b"abaca", b"b"])
def test_an_accepted_expression_finds_in_the_engine_what_its_author_meant(pcre, written, where):
    try:
        told = rules.expression(written)
    except ValueError:
        return
    options = re2.Options()
    options.log_errors, options.encoding, options.dot_nl = False, re2.Options.Encoding.LATIN1, True

    meant = re2.compile(b"(?m)" + written.encode(), options)

    assert rules.PATTERN.fullmatch(told)
    assert pcre.finds(told, where) == [meant.search(text) is not None for text in where]


@settings(max_examples=200, deadline=None)
@given(text=st.text(min_size=1, max_size=20))
def test_literal_text_finds_itself_in_the_engine(pcre, text):
    here = text.encode()

    assert pcre.finds(rf"\A{rules.literal(text)}\z", [here, here + b"x", b"x" + here]) == [True, False, False]


def test_the_library_refuses_what_the_engine_would_be_silent_about(pcre):
    assert pcre.finds("(abc", [b""]) is None
