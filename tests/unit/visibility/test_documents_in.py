"""What the node takes from files that are applied."""

from clover.visibility.node import documents_in

LIST = """\
apiVersion: v1
kind: List
items:
- kind: VirtualService
- kind: Gateway
---
kind: Sidecar
"""


def test_what_is_no_document_in_a_list_is_a_problem_with_its_place():
    found, problems = documents_in([("all.yaml", LIST.replace("- kind: VirtualService", "- 5\n- "))])

    assert [one.data["kind"] for one in found] == ["Gateway", "Sidecar"]
    assert [(one.code, one.where, one.what) for one in problems] == [
        ("CLV1010", "all.yaml:4:3", "item 1 of the List is a number, expected a mapping of names to values"),
        ("CLV1010", "all.yaml:5:2", "item 2 of the List is nothing, expected a mapping of names to values"),
    ]


def test_the_items_of_a_list_are_documents_in_their_own_places():
    found, problems = documents_in([("all.yaml", LIST)])

    assert [(one.data["kind"], str(one.mark())) for one in found] == [
        ("VirtualService", "all.yaml:4:3"),
        ("Gateway", "all.yaml:5:3"),
        ("Sidecar", "all.yaml:7:1"),
    ]
    assert problems == []
