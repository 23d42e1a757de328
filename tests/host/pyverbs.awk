# SPDX-License-Identifier: GPL-2.0
#
# Compare what tests/guest/pyverbs-cases.py left, case by case:
#   awk -f pyverbs.awk STOCK RANGES PAGES
# A case may have been run more than once: of what came of it, the stock kernel is held
# to the worst, and ours to the best. Prints
#   CASE STOCK RANGES PAGES WHAT [ARM...]
# where WHAT is same, new, newly-passing, better or worse, and which ARM is worse; last
#   cases N worse N newly_passing N new N

function rank(verdict) { return verdict == "ok" ? 2 : verdict == "skip" ? 1 : 0 }

FNR == 1 {
	for (arm = 3; FILENAME != ARGV[arm]; arm--)
		;
}

$1 == "ok" || $1 == "skip" || $1 == "fail" {
	if (!($3 in known)) {
		known[$3] = 1
		order[++cases] = $3
	}
	if (!((arm, $3) in got) || (arm == 1 ? rank($1) < rank(got[arm, $3]) : rank($1) > rank(got[arm, $3])))
		got[arm, $3] = $1
}

END {
	name[2] = "ranges"
	name[3] = "pages"
	for (i = 1; i <= cases; i++) {
		id = order[i]
		stock = (1, id) in got ? got[1, id] : "-"
		line = id " " stock
		what = ""
		least = 2
		for (a = 2; a <= 3; a++) {
			v = (a, id) in got ? got[a, id] : "-"
			line = line " " v
			# One that stock does not have may be skipped, but not fail.
			if (v == "-" || rank(v) < (stock == "-" ? 1 : rank(stock)))
				what = what " " name[a]
			if (rank(v) < least)
				least = rank(v)
		}
		if (what != "") {
			worse++
			what = "worse" what
		} else if (stock == "-") {
			new++
			what = "new"
		} else if (least == rank(stock)) {
			what = "same"
		} else if (least == 2) {
			newly++
			what = "newly-passing"
		} else {
			what = "better"
		}
		print line " " what
	}
	printf "cases %d worse %d newly_passing %d new %d\n", cases, worse, newly, new
}
