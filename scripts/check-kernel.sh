# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What scripts/tree-check asks of the kernel's series. Uses its DIR, TREE, HEAD, TMP.

FOLDERS='mm lib kernel/dma drivers/infiniband drivers/dma-buf drivers/iommu drivers/vfio samples'

kmake() {
	local obj=$1 options
	shift
	mapfile -t options < <(own_options)
	(cd "$TREE" && nice make -s O="$obj" CC="${CACHED[*]} gcc" HOSTCC="${CACHED[*]} gcc" LOCALVERSION=-check -j"$JOBS" "${options[@]}" "$@")
}

# configure_step OBJ FRAGMENT...: not all options are there at every step.
configure_step() {
	local obj=$1
	shift
	mkdir -p "$TREE/$obj"
	cat "$@" >"$TREE/$obj/fragment"
	kmake "$obj" KCONFIG_ALLCONFIG="$TREE/$obj/fragment" alldefconfig >"$TMP/config.log" 2>&1 || { cat "$TMP/config.log"; return 1; }
}

checkout() { git -C "$TREE" checkout -q -f --detach "$1"; }

# objects OBJ [FROM TO]: of the touched C files, those that this configuration builds.
objects() {
	local obj=$1 path
	touched "${@:2}" | grep '\.c$' | while read -r path; do
		[[ ! -f $TREE/$path || ! -f $TREE/$obj/${path%.c}.o ]] || echo "${path%.c}.o"
	done
}

# all_warnings LOG: without line numbers, which move.
all_warnings() {
	sed -n 's:^\(\.\./\)*\([^: ]*\)\:[0-9]*\:\([0-9]*\:\)\? \(warning\|error\)\: :\2\: :p' "$1" | LC_ALL=C sort -u
}

# warnings LOG: those in files of the series.
warnings() { all_warnings "$1" | grep -F -f <(touched) || true; }

# What recheck looks at: all that the series touches, or what some of it does.
OF=()

# recheck OBJ ARGS...: the touched objects once more with ARGS; prints their warnings.
recheck() {
	local obj=$1 list
	list=$(objects "$obj" "${OF[@]}")
	[[ $list ]] || return 0
	# shellcheck disable=SC2086 # a list of objects
	kmake "$obj" "${@:2}" $list >"$TMP/recheck.log" 2>&1 || { tail -n 20 "$TMP/recheck.log"; return 1; }
	warnings "$TMP/recheck.log"
}

folders() {
	local folder
	for folder in $FOLDERS; do
		! touched | grep -q "^$folder/" || echo "$folder/"
	done
}

# step_folders COMMIT: those that a step can break, by what it touches.
step_folders() {
	local paths folder
	paths=$(touched "$1^" "$1" | sed -e 's:^include/rdma/.*:drivers/infiniband/:' -e 's:^include/trace/events/rdma_core.h:drivers/infiniband/:')
	if grep -q '^include/' <<<"$paths"; then
		folders
		return
	fi
	for folder in $FOLDERS; do
		! grep -q "^$folder/" <<<"$paths" || echo "$folder/"
	done
}

# A step's folders are built as they are (mostly from the cache), then its files with W=1.
step_builds() {
	local list
	checkout "$1"
	# The configuration is the one of the step before, unless this changes what there is.
	if [[ ! $QUICK ]] || touched "$1^" "$1" | grep -q 'Kconfig'; then
		configure_step obj-base "$TOP/kernel/configs/base.config" || return 1
	fi
	list=bzImage OF=()
	if [[ $QUICK ]]; then
		list=$(step_folders "$1")
		OF=("$1^" "$1")
	fi
	# shellcheck disable=SC2086 # a list of folders
	[[ ! $list ]] || kmake obj-base $list >"$TMP/build.log" 2>&1 || { tail -n 20 "$TMP/build.log"; return 1; }
	recheck obj-base W=1 >"$TMP/step.warnings" || { cat "$TMP/step.warnings"; return 1; }
	LC_ALL=C comm -13 "$TMP/base.warnings" "$TMP/step.warnings" | grep . && return 1
	return 0
}

base_warnings() {
	checkout base
	configure_step obj-base "$TOP"/kernel/configs/base.config || return 1
	# shellcheck disable=SC2046 # a list of folders
	kmake obj-base $(folders) >"$TMP/build.log" 2>&1 || { tail -n 20 "$TMP/build.log"; return 1; }
	recheck obj-base W=1 >"$TMP/base.warnings"
}

checkpatch() {
	local out
	out=$(cd "$DIR" && git format-patch --stdout --no-signature -1 "$1" >"$TMP/mail" &&
		# It does not see that a new file's folder has its MAINTAINERS entry already.
		# What it runs must be Debian's python, which has the modules for it.
		cd "$BUILD/src/linux-stock" && PATH=/usr/bin:$PATH perl scripts/checkpatch.pl --strict --terse --show-types --no-summary \
		--ignore FILE_PATH_CHANGES --max-line-length=100 "$TMP/mail" 2>&1) || true
	[[ ! $out ]] || { sed "s:^$TMP/::" <<<"$out"; return 1; }
}

# Debian's sparse does not know __typeof_unqual__ yet, and kbuild leaves out one
# that does not, with no more than a warning.
CHECKER='CHECK=sparse -D__typeof_unqual__=__typeof__'

sparse() {
	checkout base
	kmake obj-base olddefconfig >/dev/null 2>&1
	recheck obj-base C=2 "$CHECKER" >"$TMP/sparse.base" || { cat "$TMP/sparse.base"; return 1; }
	! grep 'is not available or not up to date' "$TMP/recheck.log" || exit 77
	checkout "$HEAD"
	kmake obj-base olddefconfig >/dev/null 2>&1
	recheck obj-base C=2 "$CHECKER" >"$TMP/sparse.head" || { cat "$TMP/sparse.head"; return 1; }
	# Which is what it makes of every MODULE_LICENSE().
	LC_ALL=C comm -13 "$TMP/sparse.base" "$TMP/sparse.head" | grep -v ': bad constant expression$' && return 1
	return 0
}

# The folders, not the files, so that what our headers do to others is seen too.
builds_32bit() {
	local obj=obj-i386$1 list
	checkout "$HEAD"
	echo "$2" >"$TMP/pae.config"
	ARCH=i386 configure_step "$obj" "$TOP/kernel/configs/i386.config" "$TMP/pae.config" || return 1
	grep -qx "$2" "$TREE/$obj/.config" || { echo "Kconfig does not take '$2'"; return 1; }
	list=$(touched | grep '\.c$' | xargs -r -n 1 dirname | grep -E "^(${FOLDERS// /|})(/|\$)" | LC_ALL=C sort -u | sed 's:$:/:')
	# shellcheck disable=SC2086 # a list of folders
	kmake "$obj" ARCH=i386 $list >"$TMP/build.log" 2>&1 || { tail -n 20 "$TMP/build.log"; return 1; }
	warnings "$TMP/build.log" | grep . && return 1
	return 0
}

# What the series does to every RDMA driver, none of which it edits but two.
rdma_drivers() {
	local commit line
	for commit in base "$HEAD"; do
		checkout "$commit"
		configure_step obj-rdma "$TOP"/kernel/configs/{base,rdma}.config || return 1
		while read -r line; do
			grep -qx "$line" "$TREE/obj-rdma/.config" || { echo "Kconfig does not take '$line'"; return 1; }
		done < <(grep '^CONFIG_' "$TOP/kernel/configs/rdma.config")
		kmake obj-rdma W=1 C=1 "$CHECKER" drivers/infiniband/ >"$TMP/build.log" 2>&1 || { tail -n 20 "$TMP/build.log"; return 1; }
		all_warnings "$TMP/build.log" >"$TMP/rdma.$commit"
	done
	LC_ALL=C comm -13 "$TMP/rdma.base" "$TMP/rdma.$HEAD" | grep -v ': bad constant expression$' && return 1
	return 0
}

# Debian's own patches are in the base already; one that touches our files would
# make the series unfit for anybody else's tree.
debian_patches() {
	local tar=$BUILD/dl/linux-debian.tar.xz
	"$TOP/scripts/fetch" debian-patches 2>"$TMP/fetch.log" || skip "the mirror does not have Debian's patches: $(tail -n 1 "$TMP/fetch.log")"
	mkdir "$TMP/debian"
	tar -xf "$tar" -C "$TMP/debian" debian/patches
	sed 's/[ \t].*//; /^#/d; /^$/d' "$TMP/debian/debian/patches/series" | sed "s:^:$TMP/debian/debian/patches/:" |
		xargs sed -n 's:^+++ [^/]*/\([^\t]*\).*:\1:p' | LC_ALL=C sort -u >"$TMP/debian.files"
	[[ -s $TMP/debian.files ]] || { echo "no patch found in Debian's source package"; return 1; }
	touched | LC_ALL=C sort | LC_ALL=C comm -12 - "$TMP/debian.files" | grep . && return 1
	return 0
}

check_kernel() {
	local commit
	[[ $(commits) ]] || { check "anything to check" skip "no patches"; return; }
	check "base builds" base_warnings
	for commit in $(commits); do
		check "builds, no new warnings: $(name_of "$commit")" step_builds "$commit"
	done
	for commit in $(commits); do
		check "checkpatch: $(name_of "$commit")" checkpatch "$commit"
	done
	check_docs
	[[ ! $QUICK ]] || return 0
	check "sparse" sparse
	check "every RDMA driver, no new warnings" rdma_drivers
	check "i386 with PAE" builds_32bit -pae CONFIG_X86_PAE=y
	check "i386 without PAE" builds_32bit '' '# CONFIG_X86_PAE is not set'
	check "no file that Debian patches" debian_patches
	check "git am of the mails" "$TOP/scripts/tree-mail" kernel
}
