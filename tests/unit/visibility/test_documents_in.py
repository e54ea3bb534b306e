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


def test_the_items_of_a_list_are_documents_in_their_own_places():
    found, problems = documents_in([("all.yaml", LIST)])

    assert [(one.data["kind"], str(one.mark())) for one in found] == [
        ("VirtualService", "all.yaml:4:3"),
        ("Gateway", "all.yaml:5:3"),
        ("Sidecar", "all.yaml:7:1"),
    ]
    assert problems == []
