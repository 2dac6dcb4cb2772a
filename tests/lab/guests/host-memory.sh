# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# What the host says of a guest's memory, held against what samara says of it.

# The pages of the guest that are in samara's memory, by the kernel's account: windows are the mappings
# that are registered with userfaultfd ("um": Linux Documentation/filesystems/proc.rst). Pages of
# samara's own are not among them.
resident_pages() {
	awk '/^Rss:/ { rss = $2 } /^VmFlags:/ && / um( |$)/ { sum += rss } END { print sum / 4 }' "/proc/$pid/smaps"
}

# The pages of all its memfds.
memfd_pages() {
	sum=0
	for fd in /proc/"$pid"/fd/*; do
		case $(readlink "$fd") in
		/memfd:*) sum=$((sum + $(stat -L -c %b "$fd") / 8)) ;;
		esac
	done
	echo $sum
}

# counter NAME: of samara ctl stats.
counter() {
	"$SAMARA" ctl "$SOCKET" stats | sed -n "s/^$1 *//p"
}

# Pages present in the regions that begin from FIRST to LAST, as samara lists them.
region_pages() {
	"$SAMARA" ctl "$SOCKET" raw '{"execute":"x-samara-regions"}' | tr -d ' ",' >"$CASE/regions"
	sum=0 gpa=0
	while IFS=: read -r key value; do
		case $key in
		gpa) gpa=$value ;;
		populated) [ $((gpa)) -lt $(($1)) ] || [ $((gpa)) -gt $(($2)) ] || sum=$((sum + value / 4096)) ;;
		esac
	done <"$CASE/regions"
	echo $sum
}

# weigh NAME: the guest stands still (its kernel would take that for a lockup: boot it with nowatchdog); sets pages, which the kernel, the file system and samara must agree
# on to the page, and discarded, how many were discarded up to now.
weigh() {
	"$SAMARA" ctl "$SOCKET" stop >/dev/null || fail "the VM does not stop"
	pages=$(resident_pages) discarded=$(counter discarded-pages) faulted=$(counter fault-pages)
	populated=$(($(counter populated-bytes) / 4096)) blocks=$(memfd_pages)
	echo "$1: $pages pages resident, $populated populated, $blocks in memfds"
	[ "$pages" -eq "$populated" ] || fail "$1: $pages pages are resident, $populated should be"
	[ "$backing" = anon ] || [ "$blocks" -eq "$populated" ] || fail "$1: $blocks pages in memfds, not $populated"
}
