# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# Sourced by reg_mr_lat: what ib_reg_mr_lat has to refuse. It needs RUN, the program,
# and JSON and OUTPUT, where its report and its messages go.

say() { echo "$*" && return 1; }

# refuses MESSAGE OPTION...: says so on stderr, and leaves nothing behind.
refuses() {
	local message=$1 rc=0
	shift
	rm -f "$JSON"
	"${RUN[@]}" --out_json_file="$JSON" "$@" >/dev/null 2>"$OUTPUT" || rc=$?
	cat "$OUTPUT"
	((rc == 1)) || say "exit status $rc" || return 1
	grep -q -e "$message" "$OUTPUT" || say "no '$message' in it" || return 1
	[[ ! -e $JSON ]] || say "a report was left"
}

few_processes() {
	local rc=0
	(ulimit -u 4 && setpriv --reuid=65533 --regid=65534 --clear-groups "${RUN[@]}" -n 1 --threads=9) 2>"$OUTPUT" || rc=$?
	cat "$OUTPUT"
	((rc == 1)) && grep -q -e '--threads: .*ulimit -u' "$OUTPUT"
}

bad_options() {
	local line message options
	while read -r line; do
		message=${line#*: } options=()
		read -ra options <<<"${line%%: *}"
		check "refused: ${line%%: *}" refuses "$message" "${options[@]}"
	done <<-'END'
	-D 0: -D, --duration: bad value
	-D 1x: -D, --duration: bad value
	-D 1 -n 1: -D, --duration: not together with -n
	-n 0: -n, --iters: bad value
	-n: -n: a value has to follow
	-s 0: -s, --size: bad value
	-s 99999999999999999999: -s, --size: bad value
	-s 1T: -s, --size: .*available: ask for less
	-s 1T --offset=16777215T: -s, --size: there are no so many addresses
	--offset=-1: --offset: bad value
	--offset=1X: --offset: bad value
	--threads=0: --threads: bad value
	--threads=1025: --threads: bad value
	--threads: --threads: a value has to follow
	-n 100000000 --threads=64: -n, --iters: no memory
	--mr_path=neither: --mr_path: bad value 'neither': use phyr, pages or both
	--mr_path=both --odp: --mr_path: .*leave it out with --odp
	--breakdown --odp: --breakdown: .*leave it out with --odp
	--page_size=3M: --page_size: bad value
	--page_size=1G -s 8G: --page_size=1G: couldn't map 8
	--page_size=2M -s 64M --threads=2: echo 64 >
	--scattered --page_size=2M: --scattered: only pages of 4K
	--one_page: --one_page: .*--page_size=2M
	--warmup=-1: --warmup: bad value
	-d nosuch: -d, --ib-dev: IB device nosuch not found, there is rxe0
	--out_json_file=/nosuch/json -n 1: --out_json_file: can't write /nosuch/json
	--out_json_file=/dev/full -n 1: --out_json_file: can't write /dev/full
	--nosuch: --nosuch: not an option
	peer: peer: not expected here
	END
}
