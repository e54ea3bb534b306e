"""Files of certificates that change while a chain runs: served anew, or told of."""

import time

import pytest

from clover.mesh.credential_files import CredentialFiles
from clover.mesh.credential_watch import CredentialWatch
from harness.web_certificates import Issuer

ISSUER = Issuer()
DAY = 86400.0
SOURCE = "Gateway/default/edge"
SHOP, SHOP_ROOTS = "kubernetes://shop", "kubernetes://shop-cacert"
NAMES = (SHOP, SHOP_ROOTS)


class Chain:
    """What is in force in a chain with a folder of credentials, and a watch over its files."""

    def __init__(self, folder):
        self.files = CredentialFiles(folder)
        self.watch = CredentialWatch(self.files)
        self.in_force = {secret.name: secret for secret in self.files.secrets(dict.fromkeys(NAMES, (SOURCE,)), {})[0]}

    def look(self):
        """Look once; return the names of the secrets that are new."""
        changed = self.watch.changed(("default", *self.in_force))
        found = {one.name: one for one in self.watch.read(dict.fromkeys(sorted(changed), (SOURCE,)))}
        new = {name for name, secret in found.items() if self.in_force[name] != secret}
        self.in_force |= found
        return new

    def problems(self, *, days=0):
        return list(self.watch.problems(self.in_force, now=time.time() + days * DAY))

    def codes(self, **more):
        return [(problem.code, problem.severity) for problem in self.problems(**more)]


@pytest.fixture
def shop(tmp_path):
    return ISSUER.issue("shop.example").write(tmp_path / "credentials/shop", authority=ISSUER.root)


@pytest.fixture
def chain(tmp_path, shop):
    return Chain(tmp_path)


def test_files_that_stay_as_they_are_are_read_once(chain):
    assert chain.look() == set()
    assert chain.watch.changed(NAMES) == set()
    assert chain.problems() == []


def test_secrets_that_come_from_no_file_are_not_looked_for(chain):
    assert chain.watch.changed(("default", "ROOTCA")) == set()


def test_a_renewed_certificate_is_read(chain, shop):
    chain.look()
    ISSUER.issue("shop.example").write(shop, authority=ISSUER.root)

    assert chain.look() == {SHOP}
    assert (shop / "tls.crt").read_bytes() in chain.in_force[SHOP].body
    assert chain.look() == set()


def test_what_changed_before_the_first_look_is_read_too(chain, shop):
    ISSUER.issue("shop.example").write(shop, authority=ISSUER.root)

    assert chain.look() == {SHOP}


def test_links_may_be_turned_to_new_files(tmp_path):
    for number in (0, 1):
        ISSUER.issue("shop.example").write(tmp_path / f"archive{number}", authority=ISSUER.root)
    link = tmp_path / "credentials/shop"
    link.parent.mkdir()
    link.symlink_to(tmp_path / "archive0")
    chain = Chain(tmp_path)
    chain.look()
    link.unlink()
    link.symlink_to(tmp_path / "archive1")

    assert chain.look() == {SHOP}


def test_a_broken_file_leaves_what_was_read_before_until_it_is_mended(chain, shop):
    before = dict(chain.in_force)
    renewed = ISSUER.issue("shop.example")
    (shop / "tls.crt").write_bytes(renewed.certificate)

    assert [chain.look(), chain.look()] == [set(), set()]
    assert chain.in_force == before
    (problem,) = chain.problems()
    assert (problem.code, problem.severity, problem.where) == ("CLV4234", "error", SOURCE)
    assert problem.what.endswith("the private key does not belong to the certificate")
    assert problem.hint.startswith("what was read before keeps serving")

    (shop / "tls.key").write_bytes(renewed.key)
    assert chain.look() == {SHOP}
    assert chain.problems() == []


def test_a_file_that_is_gone_leaves_what_was_read_before(chain, shop):
    (shop / "tls.key").unlink()

    assert chain.look() == set()
    assert "cannot be read" in chain.problems()[0].what


def test_what_is_not_in_force_any_more_is_not_talked_about(chain, shop):
    (shop / "tls.key").unlink()
    chain.look()
    chain.in_force.clear()

    assert chain.look() == set()
    assert chain.problems(days=29) == []


def test_a_certificate_that_expires_soon_is_a_warning_and_an_expired_one_an_error(tmp_path):
    ISSUER.issue("shop.example", days=(-1, 20)).write(tmp_path / "credentials/shop", authority=ISSUER.root)
    chain = Chain(tmp_path)

    assert chain.codes(days=12) == []
    assert chain.codes(days=14) == [("CLV4239", "warning")]
    assert chain.codes(days=21) == [("CLV4239", "error")]
    (problem,) = chain.problems(days=14)
    assert problem.where == "credentials/shop/tls.crt"
    assert problem.what.startswith("the certificate expires on 20")


def test_of_several_authorities_the_one_that_lasts_longest_counts(tmp_path, shop):
    short = ISSUER.issue("short", days=(-1, 2)).certificate
    (shop / "ca.crt").write_bytes(short + ISSUER.root)
    chain = Chain(tmp_path)

    assert chain.codes(days=1) == []
    (shop / "ca.crt").write_bytes(short)
    chain.look()
    assert chain.codes(days=1) == [("CLV4239", "warning")]
