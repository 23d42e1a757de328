# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# The Debian mirror of this machine, asked through an apt configuration of our own.

APT=$BUILD/apt
RELISTED=

# The site of Debian's main archive, not the security one.
mirror() {
	local rows site
	# shellcheck disable=SC2016 # apt's variables
	rows=$(apt-get indextargets --format '$(REPO_URI)|$(LABEL)|$(COMPONENT)' 'Created-By: Packages')
	site=$(awk -F'|' '$2 == "Debian" && $3 == "main" { print $1; exit }' <<<"$rows")
	# Before its first update apt knows no labels, but where it would look.
	[[ $site ]] || site=$(apt-get update --print-uris 2>/dev/null |
		sed -n "s:^'\(.*/debian/*\)/dists/.*InRelease'.*:\1:p" | head -n 1)
	[[ $site ]] || die "apt on this machine has no Debian mirror: add one, or give the tarballs by hand (KERNEL_TARBALL=... RDMA_CORE_TARBALL=... PERFTEST_TARBALL=...)"
	echo "$site"
}

apt_private() {
	local cmd=$1
	shift
	"$cmd" -c "$APT/apt.conf" "$@"
}

apt_setup() {
	local site
	site=$(mirror)
	mkdir -p "$APT"/{state,lists/partial,cache/archives/partial}
	cat >"$APT/apt.conf" <<-END
		Dir::State "$APT/state";
		Dir::State::Lists "$APT/lists";
		Dir::State::Status "/dev/null";
		Dir::Cache "$APT/cache";
		Dir::Etc::SourceList "$APT/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		Dir::Etc::Preferences "/dev/null";
		Dir::Etc::PreferencesParts "/dev/null";
		APT::Architecture "amd64";
		APT::Architectures "amd64";
		APT::Sandbox::User "";
		Acquire::Languages "none";
		Acquire::Retries "3";
	END
	sources "$site" >"$APT/sources.list.new"
	if ! cmp -s "$APT/sources.list.new" "$APT/sources.list"; then
		rm -rf "$APT/lists"
		mkdir -p "$APT/lists/partial"
		mv "$APT/sources.list.new" "$APT/sources.list"
	fi
}

sources() {
	local part type
	for part in "${COMPONENTS[@]}"; do
		type=deb
		[[ $(base "$part" kind) == deb ]] || type='deb-src'
		echo "$type $1 $(base "$part" suite) main"
	done | sort -u
	# For debian-patches.
	echo "deb-src $1 $(base kernel suite) main"
}

relist() {
	note "reading the mirror's lists"
	apt_private apt-get -q -o APT::Update::Error-Mode=any update >&2 ||
		die "the mirror's lists could not be read (see above); nothing is lost, the next run tries again"
	# shellcheck disable=SC2034 # for scripts/fetch
	RELISTED=1
}

# uri COMPONENT: "URI SHA256" of the pinned file, if the mirror has it.
uri() {
	local part=$1 pkg
	pkg="$(base "$part" package)=$(base "$part" version)"
	if [[ $(base "$part" kind) == deb ]]; then
		apt_private apt-get download --print-uris "$pkg" 2>/dev/null
	else
		apt_private apt-get source --print-uris --download-only --tar-only "$pkg" 2>/dev/null
	fi | sed -n "s/^'\([^']*\)' .* SHA256:\([0-9a-f]*\)$/\1 \2/p"
}

# debian_uri PACKAGE=VERSION: the same of its debian.tar, which holds Debian's patches.
debian_uri() {
	apt_private apt-get source --print-uris --download-only --diff-only "$1" 2>/dev/null |
		sed -n "s/^'\([^']*\)' .*debian\.tar.* SHA256:\([0-9a-f]*\)$/\1 \2/p"
}
