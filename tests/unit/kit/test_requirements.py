from clover.kit.requirements import Requirement, installing, missing

THERE = Requirement(name="sh", package="dash", needed_for="everything")
GONE = Requirement(name="/no/such/file", package="nothing", needed_for="a test", backports="bookworm")


def test_what_is_missing_is_told_once_with_the_command_that_brings_it():
    again = Requirement(name="/no/such/file", package="nothing", needed_for="another test")
    (problem,) = missing([THERE, GONE, again])

    assert (problem.code, problem.where, problem.severity) == ("CLV2001", "/no/such/file", "error")
    assert problem.what == "'/no/such/file' is missing; it is needed for a test"
    assert problem.hint.startswith("sudo apt-get install --no-install-recommends ")


def test_what_a_chain_can_do_without_is_a_warning():
    assert [problem.severity for problem in missing([GONE], severity="warning")] == ["warning"]


def test_the_command_names_the_backports_where_only_they_have_the_package():
    assert installing(GONE, release="trixie") == "sudo apt-get install --no-install-recommends nothing"
    assert installing(GONE, release="") == "sudo apt-get install --no-install-recommends nothing"
    assert installing(GONE, release="bookworm") == (
        "sudo apt-get install --no-install-recommends -t bookworm-backports nothing"
        " (script/bootstrap adds bookworm-backports to apt's sources)"
    )
