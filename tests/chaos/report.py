"""What a run has shown, as JSON and as a table."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.clients import Kind, Served

MOST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Report:
    """Figures, and everything that must not be."""

    figures: Mapping[str, Any]
    violations: Sequence[str]

    @property
    def passed(self) -> bool:
        return not self.violations

    def as_json(self) -> dict[str, Any]:
        return {**self.figures, "violations": list(self.violations), "passed": self.passed}

    def as_text(self) -> str:
        lines = []
        for name, value in self.figures.items():
            if name == "requests":
                lines += _request_lines(value)
            elif isinstance(value, dict):
                lines.append(f"{name}:")
                lines += [f"  {key:55} {value[key]}" for key in sorted(value)]
            else:
                lines.append(f"{name + ':':57} {value}")
        lines.append(f"violations: {len(self.violations)}")
        lines += [f"  {violation}" for violation in self.violations[:MOST_SHOWN]]
        return "\n".join(lines)


def request_figures(served: Sequence[Served]) -> list[dict[str, Any]]:
    """By kind: how many, and how long they took, calm and under faults."""
    by_kind: dict[Kind, list[Served]] = defaultdict(list)
    for each in served:
        by_kind[each.kind].append(each)
    return [_of_kind(kind, by_kind[kind]) for kind in Kind if by_kind[kind]]


def _of_kind(kind: Kind, served: Sequence[Served]) -> dict[str, Any]:
    calm = [each.seconds for each in served if not each.under_faults]
    faulty = [each.seconds for each in served if each.under_faults]
    return {
        "kind": str(kind),
        "requests": len(served),
        "answered": sum(each.trouble is None for each in served),
        "calm": _spread(calm),
        "under_faults": _spread(faulty),
    }


def _spread(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    return {
        "count": len(ordered),
        "p50_s": round(statistics.median(ordered), 1),
        "p99_s": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1),
        "most_s": round(ordered[-1], 1),
    }


def _request_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    total = Counter({"requests": 0, "answered": 0})
    lines = [
        f"{'requests':38} {'made':>6} {'right':>6}   calm p50/p99 s   with faults p50/p99/max s"
    ]
    for row in rows:
        total.update(requests=row["requests"], answered=row["answered"])
        calm, faulty = row["calm"], row["under_faults"]
        calm_text = f"{calm['p50_s']:6} {calm['p99_s']:6}" if calm else " " * 13
        text = f"{faulty['p50_s']:6} {faulty['p99_s']:6} {faulty['most_s']:6}" if faulty else ""
        lines.append(
            f"  {row['kind']:36} {row['requests']:6} {row['answered']:6}   {calm_text}    {text}"
        )
    lines.append(f"  {'all':36} {total['requests']:6} {total['answered']:6}")
    return lines
