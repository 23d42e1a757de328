# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# What scripts/tree-check asks of the documentation in the kernel's series. Uses its DIR,
# TREE, HEAD, TMP and QUICK, and check-kernel.sh's functions.

# The kernel's tools take Debian's python, which has the modules for them.
docs_env() { env PATH="/usr/bin:$PATH" PYTHONDONTWRITEBYTECODE=1 srctree="$TREE" nice "$@"; }

# Where warnings are moves, and what they are does not.
without_lines() { sed -e "s:$TREE/::g" -e 's/:[0-9][0-9]*\(: \| \)/\1/g' "$1" | LC_ALL=C sort -u; }

# kernel_doc_of COMMIT: the touched files as they are there, taken from the repository.
kernel_doc_of() {
	local dir=$TMP/kernel-doc.$1 files
	mkdir "$dir"
	mapfile -t files < <(touched | grep '\.[ch]$' | xargs -r git -C "$DIR" ls-tree -r --name-only "$1" --)
	[[ ${#files[@]} != 0 ]] || return 0
	git -C "$DIR" archive "$1" -- "${files[@]}" | tar -x -C "$dir"
	(cd "$dir" && docs_env python3 "$TREE/tools/docs/kernel-doc" -none -Wall "${files[@]}") >"$TMP/kernel-doc.log" 2>&1 ||
		{ tail -n 20 "$TMP/kernel-doc.log"; return 1; }
	without_lines "$TMP/kernel-doc.log" | grep -v '^Info: ' >"$dir.warnings" || true
}

kernel_doc() {
	local at
	for at in base "$HEAD"; do
		kernel_doc_of "$at" || return 1
	done
	LC_ALL=C comm -13 "$TMP/kernel-doc."{base,"$HEAD"}.warnings | grep . && return 1
	return 0
}

# The touched pages, and the index of each one's folder, which misses what is not in it.
pages() { touched | sed -n 's:^Documentation/\(.*/\)\([^/]*\.rst\)$:\1\2\n\1index.rst:p' | LC_ALL=C sort -u | paste -sd, -; }

# What refers to a page that is left out gives a warning at base, too.
sphinx_of() {
	checkout "$1"
	(cd "$TREE" && docs_env sphinx-build -q -E -b html -c Documentation -D kerneldoc_srctree=. \
		-D master_doc=core-api/index -D include_patterns="$(pages)" -D exclude_patterns=netlink \
		Documentation "$TMP/html") >"$TMP/sphinx.log" 2>&1 || { tail -n 20 "$TMP/sphinx.log"; return 1; }
	rm -rf "$TMP/html"
	without_lines "$TMP/sphinx.log" >"$TMP/sphinx.$1"
}

sphinx() {
	local at
	if [[ ! -x /usr/bin/sphinx-build ]]; then
		[[ ! $QUICK ]] || skip "python3-sphinx is not installed"
		echo "python3-sphinx is not installed: run scripts/setup"
		return 1
	fi
	for at in base "$HEAD"; do
		sphinx_of "$at" || return 1
	done
	LC_ALL=C comm -13 "$TMP/sphinx."{base,"$HEAD"} | grep . && return 1
	return 0
}

# example PAGE: what its blocks of C are, one after the other.
example() {
	awk '/^\.\. code-block:: c$/ { code = 1; next }
		/^[^ ]/ { code = 0 }
		code { sub(/^    /, ""); print }' "$TREE/Documentation/$1"
}

# A page with an example for drivers has it compile, in the configuration of the steps.
example_builds() {
	local file=$TREE/mm/doc_example rc=0
	checkout "$HEAD"
	example core-api/phyr.rst >"$file.c"
	grep -q . "$file.c" || { echo "core-api/phyr.rst has no block of C"; rc=1; }
	[[ $rc != 0 ]] || kmake obj-base W=1 "${file#"$TREE"/}.o" >"$TMP/example.log" 2>&1 || rc=1
	rm -f "$file.c"
	[[ $rc == 0 && ! -s $TMP/example.log ]] || { tail -n 20 "$TMP/example.log"; return 1; }
}

check_docs() {
	check "kernel-doc, no new warnings" kernel_doc
	check "sphinx, no new warnings" sphinx
	check "the example for drivers builds" example_builds
}
