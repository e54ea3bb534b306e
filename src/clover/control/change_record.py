"""What an ambassador tells of a change: one line for operators, one log record for the chain's telemetry."""

from __future__ import annotations

from dataclasses import dataclass

from opentelemetry.context import Context

from clover.control import difference
from clover.control.handlers import AttributeValue, CallError, Code, Telemetry
from clover.functions.driver import How
from clover.functions.state import State

EVENT = "clover.change"
MOST_DIFF_BYTES = 4096
_OUTCOMES = {Code.ABORTED: "rolled-back", Code.INTERNAL: "failed"}
"""Of a call that failed with this code; all others were refused before anything was done."""
_WORDS = {"refused": "was refused", "rolled-back": "was rolled back", "failed": "failed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Teller:
    """Tells of the changes of one workload."""

    function: str
    """`clover-lb@v1`."""
    telemetry: Telemetry

    def applied(
        self,
        before: State,
        after: State,
        *,
        how: How,
        diff: str,
        duration_s: float,
        method: str,
        context: Context | None,
    ) -> None:
        """Tell of a change that is in force."""
        summary = difference.summary(before, after)
        text = f"generation {before.generation} → {after.generation} by {how.value} in {duration_s * 1000:.0f} ms"
        self._tell(
            f"{text}: {summary}",
            {
                "clover.change.outcome": "applied",
                "clover.change.generation": after.generation,
                "clover.change.previous": before.generation,
                "clover.change.how": how.value,
                "clover.change.duration_ms": round(duration_s * 1000, 3),
                "clover.change.summary": summary,
                "clover.change.diff": cut(diff, most_bytes=MOST_DIFF_BYTES),
            },
            method=method,
            context=context,
        )

    def failed(
        self, before: State, now: State, failure: Exception, *, duration_s: float, method: str, context: Context | None
    ) -> None:
        """Tell of a change that did not come into force; `now` is what is."""
        code = failure.code if isinstance(failure, CallError) else Code.INTERNAL
        outcome = _OUTCOMES.get(code, "refused")
        summary = cut(str(failure).partition("\n")[0], most_bytes=1000)
        attributes: dict[str, AttributeValue] = {
            "clover.change.outcome": outcome,
            "clover.change.generation": now.generation,
            "clover.change.previous": before.generation,
            "clover.change.how": How.NONE.value,
            "clover.change.duration_ms": round(duration_s * 1000, 3),
            "clover.change.summary": summary,
            "clover.change.diff": "",
        }
        if isinstance(failure, CallError):
            attributes["clover.change.problem"] = failure.problems[0].code
        text = f"generation {now.generation} stays, a change {_WORDS[outcome]}: {summary}"
        self._tell(text, attributes, method=method, context=context)

    def say(self, text: str) -> None:
        """Tell operators of a change of state."""
        print(f"{self.function}: {text}", flush=True)

    def _tell(self, text: str, attributes: dict[str, AttributeValue], *, method: str, context: Context | None) -> None:
        self.say(text)
        more: dict[str, AttributeValue] = {"log": "change", "clover.change.method": method}
        self.telemetry.emit(EVENT, f"{self.function}: {text}", more | attributes, context=context)


def cut(text: str, *, most_bytes: int) -> str:
    """Return so much of `text` as fits, and say so where it ends."""
    encoded = text.encode()
    if len(encoded) <= most_bytes:
        return text
    return encoded[: most_bytes - 4].decode("utf-8", "ignore") + " ..."
