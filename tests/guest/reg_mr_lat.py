# SPDX-License-Identifier: GPL-2.0
"""
reg_mr_lat.py NAME...: computes the statistics of ib_reg_mr_lat -U once more, from the
samples in NAME.output, and holds its table there and NAME.json against them.
"""
import json
import math
import re
import statistics
import sys

NAMES = ("t_min", "t_max", "t_typical", "t_avg", "t_stdev", "percentile_99", "percentile_99.9")


def summary(samples):
    """Nearest-rank percentiles, the middle or the mean of the two middle ones as
    median, n - 1 below the deviation."""
    x, n = sorted(samples), len(samples)
    return (x[0], x[-1], statistics.median(x), statistics.fmean(x),
            statistics.stdev(x) if n > 1 else 0,
            x[math.ceil(0.99 * n) - 1], x[math.ceil(0.999 * n) - 1])


def read_output(name):
    """The lists of samples by column name, and the rows of the table by what they begin with."""
    blocks, rows = [], []
    with open(name, encoding="utf-8") as f:
        for line in f:
            if line.startswith("#,"):
                columns = re.findall(r"(\w+)\[(\w+)\]", line)
                blocks.append([])
            elif re.match(r"\d+, ", line):
                blocks[-1].append([float(v) for v in line.split(", ")[1:]])
            elif re.match(r" (reg|dereg|pin|map|driver) ", line):
                rows.append(line.split())
    assert blocks and rows, "no samples or no table"
    return columns, [list(zip(*block)) for block in blocks], rows


def same(what, got, want, precision=0.0):
    assert abs(got - want) <= precision + 1e-8 * abs(want), (what, got, want)


def check_step(result, verb, unit, samples, row, table_factor, mhz):
    """One of reg, dereg, ...: what it is in JSON and in its row of the table."""
    stats = result[verb]
    # Samples in microseconds are printed with three decimals.
    rounded = 0.0006 if unit == "usec" else 0
    for name, want, printed in zip(NAMES, summary(samples), row):
        same((verb, name), stats[unit][name], want, rounded)
        same((verb, name, "table"), float(printed), want * table_factor, 0.005 + rounded)
        if "cycles" in stats and mhz:
            same((verb, name, "usec"), stats["usec"][name], stats["cycles"][name] / mhz)


def check_rate(result, threads, mhz):
    """All threads together can't be faster than if they did nothing but the two verbs."""
    most = threads * mhz * 1e6 / (result["reg"]["cycles"]["t_avg"] + result["dereg"]["cycles"]["t_avg"])
    # The rate is by another clock than the one whose frequency is an estimate, which on
    # a busy host was seen to be 14 % off.
    assert 0 < result["reg_per_sec"] <= most * 1.5, (result["reg_per_sec"], most)


def check_parts(columns, block, mhz):
    """What the kernel says that the parts took is no more than the whole."""
    reg, unit = block[0], columns[0][1]
    for whole, *parts in zip(reg, *block[2:]):
        whole = whole / mhz if unit == "cycles" else whole
        assert 0 < sum(parts) / 1000 <= whole * 1.01, (whole, parts)


def check(name):
    with open(name + ".json", encoding="utf-8") as f:
        report = json.load(f)
    columns, blocks, rows = read_output(name + ".output")
    info, results = report["test_info"], report["results"]
    mhz, both = info["mhz"], "ratios" in report
    in_cycles = columns[0][1] == "cycles"
    table = {tuple(row[:2 + both]): row[4 + both:] for row in rows}
    assert len(blocks) == len(results), (len(blocks), len(results))

    for result, block in zip(results, blocks):
        n = result["iterations"]
        assert n > 0 and {len(samples) for samples in block} == {n}, n
        assert min(block[0]) > 0 and min(block[1]) > 0 and result["ranges"] > 0
        for (verb, unit), samples in zip(columns, block):
            factor = (mhz if in_cycles else 1) / 1000 if unit == "nsec" else 1
            row = table[(verb, *([result["mr_path"]] if both else []), str(result["bytes"]))]
            check_step(result, verb, unit, samples, row, factor, mhz)
        check_rate(result, info["threads"], mhz)
        if len(columns) > 2:
            check_parts(columns, block, mhz)
        if result["layout"] and result["layout"]["path"] != "unknown":
            assert result["layout"]["path"] == result["mr_path"], result
            pinned = result["layout"]["pinned_bytes"]
            assert pinned == 0 if result["mr_path"] == "odp" else pinned >= result["bytes"], result

    for i, ratios in enumerate(report.get("ratios", [])):
        phyr, pages = results[2 * i:2 * i + 2]
        assert (phyr["mr_path"], pages["mr_path"]) == ("phyr", "pages")
        for (verb, unit) in columns:
            row = table[(verb, "ratio", str(ratios["bytes"]))]
            unit = "nsec" if unit == "nsec" else "cycles"
            for name, printed in zip(NAMES, row):
                if phyr[verb][unit][name]:
                    want = pages[verb][unit][name] / phyr[verb][unit][name]
                    same((verb, name), ratios[verb][name], want)
                    same((verb, name), float(printed), want, 0.005)
    return sum(result["iterations"] for result in results)


def main():
    failed = 0
    for name in sys.argv[1:]:
        try:
            print(f"{name}: {check(name)} samples")
        except (AssertionError, KeyError, OSError, ValueError) as e:
            print(f"{name}: {e!r}")
            failed += 1
    return failed > 0 or not sys.argv[1:]


sys.exit(main())
