"""From a chain to something that runs: addresses, the plan, and the backends that carry plans out.

A backend sees the plan and nothing else; what the plan should say is decided in `planner`.
"""
