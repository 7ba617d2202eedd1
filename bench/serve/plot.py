#!/usr/bin/env python3
"""Latency against load as an SVG, from what `load.py sweep --json` or `compare.py --json` wrote.

    python3 bench/serve/plot.py RESULT.json ... --svg OUT.svg

Two panels over the requests a second that arrive: time to the first token (p50 and, dashed, p99) and
the time between tokens. Both axes of time are logarithmic. Points of the same name and rate from
several runs are medians.
"""
import argparse
import json
import math
import pathlib
import statistics

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # told apart by all kinds of eyes (Okabe, Ito)
WIDTH, HEIGHT, LEFT, TOP, GAP = 340, 240, 56, 34, 70
PANELS = (("time to first token, ms", "ttft"), ("between tokens, ms", "gap"))


def series(paths):
    """name -> rate -> summaries."""
    out = {}

    def take(run):
        for point in run["points"]:
            out.setdefault(run["name"], {}).setdefault(point["rate"], []).append(point)

    for path in paths:
        result = json.loads(pathlib.Path(path).read_text("utf-8"))
        if "points" in result:
            take(result)
        for runs in result.get("sweep", {}).values():
            for run in runs:
                take(run)
    return out


def middle(points, field):
    return 1000 * statistics.median(point[field] for point in points)


def panel(number, title, field, data):
    x0 = LEFT + number * (WIDTH + GAP)
    rates = sorted({rate for points in data.values() for rate in points})
    values = [middle(p, f"{field}_{q}") for points in data.values() for p in points.values() for q in ("p50", "p99")]
    low, high = math.floor(math.log10(max(min(values), 0.1))), math.ceil(math.log10(max(values) + 1e-9))
    high = max(high, low + 1)
    x = lambda rate: x0 + WIDTH * rate / rates[-1]
    y = lambda ms: TOP + HEIGHT * (1 - (math.log10(max(ms, 0.1)) - low) / (high - low))
    out = [f'<text x="{x0}" y="{TOP - 14}" font-weight="bold">{title}</text>']
    for power in range(low, high + 1):
        at = y(10 ** power)
        out.append(f'<path d="M{x0} {at:.1f}h{WIDTH}" stroke="#ddd"/>'
                   f'<text x="{x0 - 6}" y="{at + 4:.1f}" text-anchor="end">{10 ** power:g}</text>')
    for rate in rates:
        out.append(f'<text x="{x(rate):.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{rate:g}</text>')
    out.append(f'<text x="{x0 + WIDTH / 2}" y="{TOP + HEIGHT + 34}" text-anchor="middle">requests a second</text>')
    for colour, (name, points) in zip(COLOURS, sorted(data.items())):
        for q, dash in (("p50", ""), ("p99", ' stroke-dasharray="5 3"')):
            line = " ".join(f"{x(rate):.1f},{y(middle(points[rate], f'{field}_{q}')):.1f}" for rate in sorted(points))
            out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>')
        if number == 0:
            at = TOP + HEIGHT + 54 + 16 * sorted(data).index(name)
            out.append(f'<text x="{x0}" y="{at}" fill="{colour}">{name}: p50, dashed p99</text>')
    return out


def main():
    cli = argparse.ArgumentParser(description="latency against load as an SVG")
    cli.add_argument("results", nargs="+")
    cli.add_argument("--svg", type=pathlib.Path, required=True)
    args = cli.parse_args()
    data = series(args.results)
    if not data:
        cli.error("no sweep in these files")
    width, height = LEFT + 2 * WIDTH + GAP + 20, TOP + HEIGHT + 48 + 16 * len(data)
    body = [line for i, (title, field) in enumerate(PANELS) for line in panel(i, title, field, data)]
    args.svg.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
                        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>\n'
                        + "\n".join(body) + "\n</svg>\n", encoding="utf-8")


if __name__ == "__main__":
    main()
