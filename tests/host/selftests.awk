# SPDX-License-Identifier: GPL-2.0
#
# Compare two TAP files of one program, case by case: awk -f selftests.awk WANT GOT.
# Prints a line for each case that is not the same, and last
#   cases N same N differ N failed N skipped N
# where the last two say what WANT itself has of these. How a program ended, and
# how many pins it left, are cases too. One that never ended, ended by a signal or a
# time-out, or has not as many results as it planned, is not the same as anything.

function store(name, verdict) {
	# A name that comes twice is a case of its own each time.
	name = name (++times[side, name] > 1 ? " (" times[side, name] ")" : "")
	got[side, name] = verdict
	if (!(name in known)) {
		known[name] = 1
		order[++names] = name
	}
}

function broken(what) {
	print (side == 1 ? "want: " : "got: ") what
	lost++
}

function finish_side(   planned) {
	if (!side)
		return
	if (!ended)
		broken("the program never ended")
	else if (status >= 124)
		broken("the program ended by a signal or a time-out: exit status " status)
	if (!results)
		broken("no results")
	else if (plan != results && !skipped_all)
		broken("planned " plan + 0 " results, got " results)
	ended = status = results = skipped_all = 0
	plan = ""
}

FNR == 1 { finish_side(); side++ }

{ sub(/\r$/, "") }

/^1\.\.[0-9]+/ {
	plan = substr($0, 4) + 0
	if (/# *SKIP/) {
		skipped_all = ++results
		store("all", "skip")
		if (side == 1)
			skipped++
	}
}

/^Bail out!/ { store("Bail out!", "not ok") }

/^# end: exit status / {
	ended = 1
	status = $5 + 0
	store("how it ended", substr($0, 8))
}

/^(not )?ok [0-9]+/ {
	line = $0
	verdict = /^not/ ? "not ok" : "ok"
	sub(/^(not )?ok /, "", line)
	if (match(line, /# *(SKIP|XFAIL|XPASS|error)/)) {
		directive = substr(line, RSTART, RLENGTH)
		sub(/^# */, "", directive)
		before = substr(line, 1, RSTART - 1)
		# "N name # SKIP reason", or "N # SKIP name".
		line = before ~ /^[0-9]+ *$/ ? before substr(line, RSTART + RLENGTH) : before
		verdict = directive == "error" ? "not ok" : tolower(directive)
	} else {
		sub(/ #  .*/, "", line)
	}
	gsub(/[ \t]+/, " ", line)
	sub(/ $/, "", line)
	results++
	store(line, verdict)
	if (side == 1 && verdict == "not ok")
		failed++
	if (side == 1 && verdict == "skip")
		skipped++
}

END {
	finish_side()
	if (side < 2)
		broken("one of the two files is empty")
	for (i = 1; i <= names; i++) {
		name = order[i]
		a = (1, name) in got ? got[1, name] : "missing"
		b = (2, name) in got ? got[2, name] : "missing"
		if (a == b) {
			same++
		} else {
			differ++
			print name ": " a " -> " b
		}
	}
	printf "cases %d same %d differ %d failed %d skipped %d\n", names + lost, same, differ + lost, failed, skipped
}
