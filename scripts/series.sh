# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
# A component's series, as mails and as commits. Commits are made in the object
# store alone, through an index of their own: no file of a work tree is touched
# until a whole series is known to apply.

tree_dir() {
	local dir=$BUILD/src/$1
	[[ $1 != kernel ]] || dir=$BUILD/src/linux
	[[ -d $dir ]] || die "$1 is not laid out yet: run scripts/tree apply $1"
	echo "$dir"
}

new_repo() {
	git -C "$1" init -q -b phyr
	git -C "$1" config gc.auto 0
	# A fast, modest compression: the base is written once and read often.
	git -C "$1" config core.compression 1
	# What a package or the build leaves behind is not the project's.
	printf '/obj-*/\n' >"$1/.git/info/exclude"
	printf '* -text -filter -ident -eol\n' >"$1/.git/info/attributes"
}

# A packager's rule that hides all that is not upstream's would hide our new files too.
show_new_files() {
	grep -qx '/\*' "$1/.gitignore" 2>/dev/null || return 0
	git -C "$1" update-index --skip-worktree .gitignore
	sed -i '\:^/\*$:d' "$1/.gitignore"
}

# base_commit DIR NAME: the same everywhere.
base_commit() {
	local id="phyr" date='2025-01-01T00:00:00Z'
	GIT_AUTHOR_NAME=$id GIT_AUTHOR_EMAIL=$id@localhost GIT_AUTHOR_DATE=$date \
		GIT_COMMITTER_NAME=$id GIT_COMMITTER_EMAIL=$id@localhost GIT_COMMITTER_DATE=$date \
		git -C "$1" commit -q -m "base: $2"
	git -C "$1" tag base
}

# files_in FOLDER FORMAT: none, if there is no such folder (git keeps no empty ones).
files_in() { [[ ! -d $1 ]] || find "$1" -type f ! -name .gitkeep -printf "$2"; }

# series_hash COMPONENT BASE_SUM: of all that the laid-out tree is made from.
series_hash() {
	local dir
	dir=$(part_dir "$1")
	{
		echo "$2"
		(
			cd "$dir" || exit
			{ files_in files '%m %p\n' && files_in patches '%m %p\n'; } | LC_ALL=C sort |
				while read -r mode path; do
					printf '%s %s %s\n' "$((8#$mode & 8#100))" "$path" "$(git hash-object "$path")"
				done
		)
	} | sha256sum | cut -d' ' -f1
}

adds() { sed -n '/^$/q; s/^X-Adds: //p' "$1" | tr ' ' '\n' | grep . || true; }

# as_added FILE PATH LATER...: FILE, taken back through the later patches that edit it.
as_added() {
	local file=$1 path=$2 tmp i
	shift 2
	tmp=$(mktemp -d)
	mkdir -p "$tmp/$(dirname "$path")"
	cp -p "$file" "$tmp/$path"
	for ((i = $#; i > 0; i--)); do
		grep -qxF -- "+++ b/$path" "${!i}" || continue
		(cd "$tmp" && GIT_CEILING_DIRECTORIES=$tmp git apply -R --include="$path" "${!i}") ||
			die "$path: the edit of it in ${!i##*/} does not fit files/$path"
	done
	cat "$tmp/$path"
	rm -rf "$tmp"
}

# series_commit DIR COMPONENT: makes the commits, prints the last one.
series_commit() {
	local dir=$1 from tmp head patch path mode blob mails=() n used
	from=$(part_dir "$2")
	tmp=$(mktemp -d)
	used=$tmp/used
	: >"$used"
	mapfile -t mails < <(files_in "$from/patches" '%p\n' | LC_ALL=C sort)
	head=$(git -C "$dir" rev-parse base)
	export GIT_INDEX_FILE=$tmp/index
	git -C "$dir" read-tree base
	for ((n = 0; n < ${#mails[@]}; n++)); do
		patch=${mails[n]}
		git -C "$dir" mailinfo -b "$tmp/msg" "$tmp/diff" <"$patch" >"$tmp/info"
		if grep -q '^diff --git ' "$tmp/diff"; then
			git -C "$dir" apply --cached --whitespace=nowarn "$tmp/diff" ||
				die "${patch#"$TOP"/} does not apply"
		fi
		for path in $(adds "$patch"); do
			[[ -f $from/files/$path ]] || die "${patch##*/} adds $path, which is not in ${from#"$TOP"/}/files"
			[[ ! $(git -C "$dir" ls-files -s -- "$path") ]] || die "${patch##*/} adds $path, which is there already"
			mode=100644
			[[ ! -x $from/files/$path ]] || mode=100755
			blob=$(as_added "$from/files/$path" "$path" "${mails[@]:n+1}" | git -C "$dir" hash-object -w --stdin)
			git -C "$dir" update-index --add --cacheinfo "$mode,$blob,$path"
			echo "$path" >>"$used"
		done
		head=$(mail_commit "$dir" "$tmp" "$head")
	done
	unset GIT_INDEX_FILE
	path=$(files_in "$from/files" '%P\n' | LC_ALL=C sort | comm -23 - <(LC_ALL=C sort "$used"))
	[[ ! $path ]] || die "no patch of $2 adds (X-Adds:) ${path//$'\n'/ }"
	rm -rf "$tmp"
	echo "$head"
}

# The mail's author and date for author and committer: a commit depends on its mail alone.
mail_commit() {
	local dir=$1 tmp=$2 parent=$3 tree name mail date subject
	name=$(sed -n 's/^Author: //p' "$tmp/info")
	mail=$(sed -n 's/^Email: //p' "$tmp/info")
	date=$(sed -n 's/^Date: //p' "$tmp/info")
	subject=$(sed -n 's/^Subject: //p' "$tmp/info")
	[[ $name && $mail && $date && $subject ]] || die "a mail lacks From, Date or Subject: $(cat "$tmp/info")"
	tree=$(git -C "$dir" write-tree)
	{
		echo "$subject"
		echo
		cat "$tmp/msg"
	} | git stripspace | GIT_AUTHOR_NAME=$name GIT_AUTHOR_EMAIL=$mail GIT_AUTHOR_DATE=$date \
		GIT_COMMITTER_NAME=$name GIT_COMMITTER_EMAIL=$mail GIT_COMMITTER_DATE=$date \
		git -C "$dir" commit-tree -p "$parent" "$tree"
}

# series_export DIR COMPONENT TO [REV]: TO/files and TO/patches.
series_export() {
	local dir=$1 to=$3 rev=${4:-HEAD} commit n=0 path headers license seen='' opts
	license=$(base "$2" license)
	mkdir -p "$to/files" "$to/patches"
	opts=(--always -p --no-signature --zero-commit --no-renames --abbrev=12 --no-base --no-numbered --no-attach
		--no-thread --subject-prefix=PATCH --diff-algorithm=histogram --unified=3 --binary)
	for commit in $(git -C "$dir" rev-list --reverse "base..$rev"); do
		n=$((n + 1))
		[[ $(git -C "$dir" rev-list --parents -n 1 "$commit" | wc -w) == 2 ]] || die "$commit is a merge: rebase it"
		headers=("--add-header=X-SPDX-License-Identifier: $license")
		while IFS= read -r path; do
			[[ $path != *' '* ]] || die "a space in '$path'"
			[[ " $seen " != *" $path "* ]] || die "$path is added twice"
			seen+=" $path"
			headers+=("--add-header=X-Adds: $path")
		done < <(git -C "$dir" diff-tree -r --no-commit-id --no-renames --name-only --diff-filter=A "$commit")
		git -C "$dir" format-patch -q -1 "${opts[@]}" "${headers[@]}" --diff-filter=a \
			--start-number="$n" -o "$to/patches" "$commit"
	done
	for path in $seen; do
		git -C "$dir" cat-file -e "$rev:$path" 2>/dev/null || die "$path is added by one patch and removed by another"
		mkdir -p "$to/files/$(dirname "$path")"
		git -C "$dir" show "$rev:$path" >"$to/files/$path"
		[[ $(git -C "$dir" ls-tree "$rev" "$path") != 100755* ]] || chmod +x "$to/files/$path"
	done
}

# same_as_exported DIR COMPONENT: DIR's commits are what files/ and patches/ say.
same_as_exported() {
	local tmp rc=0 d
	tmp=$(mktemp -d)
	(series_export "$1" "$2" "$tmp") >/dev/null 2>&1 || rc=1
	for d in files patches; do
		mkdir -p "$(part_dir "$2")/$d"
		diff -rq -x .gitkeep "$tmp/$d" "$(part_dir "$2")/$d" >/dev/null || rc=1
	done
	rm -rf "$tmp"
	return "$rc"
}

# borrow DIR TMP: an empty repository that sees DIR's objects, with "base".
borrow() {
	mkdir -p "$2"
	new_repo "$2"
	echo "$(git -C "$1" rev-parse --absolute-git-dir)/objects" >"$2/.git/objects/info/alternates"
	git -C "$2" tag base "$(git -C "$1" rev-parse base)"
}
