"""The calls about single rules of an intrusion detection system."""

from __future__ import annotations

from clover.control import convert
from clover.control._proto import control_pb2
from clover.control.calls import apply_response
from clover.control.handlers import Call, Code, Handlers, Surroundings, call_error
from clover.control.transaction import Content, Transactions
from clover.functions.state import State
from clover.spec.configuration import IdsConfiguration, IdsRule


class Rules:
    """`AddRule`, `RemoveRule` and `ListRules`."""

    def __init__(self, surroundings: Surroundings, transactions: Transactions) -> None:
        self._function = surroundings.settings.function
        self._transactions = transactions

    def handlers(self) -> Handlers:
        """Return what it answers."""
        return {"AddRule": self.add, "RemoveRule": self.remove, "ListRules": self.list_rules}

    async def add(self, request: control_pb2.AddRuleRequest, call: Call) -> control_pb2.ApplyResponse:
        """Add a rule; one that is there already, and is the same, does no harm."""
        rule = convert.part_from(request.rule, IdsRule, path="rule")

        def wanted(state: State) -> Content:
            rules = _rules_of(state)
            same_id = next((one for one in rules if one.id == rule.id), None)
            if same_id == rule:
                return state.configuration, state.files
            if same_id is not None:
                raise call_error(
                    Code.ALREADY_EXISTS,
                    "CLV3316",
                    f"{self._function!r} has another rule with the id {rule.id} ({same_id.message!r})",
                    where=self._function,
                    hint="remove that one first, or choose another id",
                )
            return _checked((*rules, rule)), state.files

        result = await self._transactions.apply(wanted, call=call, expected=request.expected_generation)
        return apply_response(result)

    async def remove(self, request: control_pb2.RemoveRuleRequest, call: Call) -> control_pb2.ApplyResponse:
        """Remove a rule."""

        def wanted(state: State) -> Content:
            rules = _rules_of(state)
            left = tuple(rule for rule in rules if rule.id != request.id)
            if len(left) == len(rules):
                what = f"{self._function!r} has no rule with the id {request.id}"
                raise call_error(Code.NOT_FOUND, "CLV3315", what, where=self._function)
            return _checked(left), state.files

        result = await self._transactions.apply(wanted, call=call, expected=request.expected_generation)
        return apply_response(result)

    async def list_rules(self, _: control_pb2.ListRulesRequest, call: Call) -> control_pb2.ListRulesResponse:
        """Return the rules in force."""
        del call
        state = self._transactions.in_force.state
        response = control_pb2.ListRulesResponse(generation=state.generation)
        response.rules.extend(convert.part_message(rule, control_pb2.IdsRule) for rule in _rules_of(state))
        return response


def _rules_of(state: State) -> tuple[IdsRule, ...]:
    configuration = state.configuration
    return configuration.rules if isinstance(configuration, IdsConfiguration) else ()


def _checked(rules: tuple[IdsRule, ...]) -> IdsConfiguration:
    """Return the configuration with these rules; every limit of it holds, as if all had been sent at once."""
    message = control_pb2.IdsConfiguration()
    message.rules.extend(convert.part_message(rule, control_pb2.IdsRule) for rule in rules)
    return convert.part_from(message, IdsConfiguration, path="ids")
