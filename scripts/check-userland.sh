# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What scripts/tree-check asks of the series of rdma-core and perftest.

build_rdma-core() {
	local obj=$BUILD/obj/rdma-core-check
	cmake -S "$TREE" -B "$obj" -G Ninja -Wno-dev -DCMAKE_BUILD_TYPE=Debug -DENABLE_VALGRIND=0 \
		${CACHED[0]:+-DCMAKE_C_COMPILER_LAUNCHER=ccache} -DPython_EXECUTABLE=/usr/bin/python3 \
		${QUICK:+-DNO_PYVERBS=1} ${QUICK:+-DNO_MAN_PAGES=1} || return 1
	nice ninja -C "$obj" -j"$JOBS"
}

build_perftest() {
	local obj=$BUILD/obj/perftest-check userland=$BUILD/userland
	rm -rf "$obj"
	mkdir -p "$obj"
	git -C "$TREE" archive HEAD | tar -xf - -C "$obj"
	cd "$obj" || return 1
	./autogen.sh || return 1
	./configure CC="${CACHED[*]} gcc" CPPFLAGS="-I$userland/include" LDFLAGS="-L$userland/lib" || return 1
	nice make -j"$JOBS"
}

# Upstream's own warnings are not ours to mend: only those in touched files count.
step_builds_userland() {
	local log=$TMP/build.log
	git -C "$TREE" checkout -q -f --detach "$1"
	"build_$PART" >"$log" 2>&1 || { tail -n 20 "$log"; return 1; }
	sed -n 's:^.*/\?\([^/ ]*\.[ch]\)\:[0-9]*\:[0-9]*\: warning\: :\1\: :p' "$log" | LC_ALL=C sort -u >"$TMP/warnings"
	[[ $1 != base ]] || { cp "$TMP/warnings" "$TMP/base.warnings"; return 0; }
	LC_ALL=C comm -13 "$TMP/base.warnings" "$TMP/warnings" | grep . && return 1
	return 0
}

check_userland() {
	local commit
	[[ $(commits) ]] || { check "anything to check" skip "no patches"; return; }
	[[ $PART != perftest || -f $BUILD/userland/lib/libibverbs.so ]] ||
		{ check "builds" skip "no patched rdma-core to build against: run scripts/build userland"; return; }
	for commit in base $(commits); do
		check "builds, no new warnings: $(name_of "$commit")" step_builds_userland "$commit"
	done
	check "git am of the mails" "$TOP/scripts/tree-mail" "$PART"
}
