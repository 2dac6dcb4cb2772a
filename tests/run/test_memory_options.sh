#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What is behind a guest's memory, as `samara run --memory` says it: each kind boots a guest of a few
# bytes, or says in one line why it can't. Prints TAP.

. "$(dirname "$0")/report.sh"
cd "$(dirname "$0")/../.." || exit 1
samara=${SAMARA:-build/region/samara}
scratch=$(mktemp -d) shared=$(mktemp -d -p /dev/shm) || exit 1
trap 'rm -rf "$scratch" "$shared"' EXIT
trap 'exit 143' TERM INT

why_failed() {
	head -20 "$scratch/out" "$scratch/err"
}

# says_hello OPTION...: the guest runs and powers off
says_hello() {
	timeout 120 "$samara" run -k "$scratch/HELLO" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null &&
		printf 'hello\r\n' | cmp -s - "$scratch/out"
}

# refuses STATUS PATTERN OPTION...: one line says why
refuses() {
	local want=$1 pattern=$2
	shift 2
	timeout 120 "$samara" run -k "$scratch/HELLO" "$@" >"$scratch/out" 2>"$scratch/err" </dev/null
	[ $? = "$want" ] && grep -q -e "$pattern" "$scratch/err" &&
		{ [ "$want" = 2 ] || [ "$(wc -l <"$scratch/err")" = 1 ]; }
}

${CC:-gcc} -c -DHELLO -o "$scratch/HELLO.o" tests/run/tiny.S &&
	objcopy -O binary -j .text "$scratch/HELLO.o" "$scratch/HELLO" || exit 1

refuses 2 'backing=file and path=FILE' -m 64M,backing=file
report $? "a file without a name"
refuses 2 'policy=bind takes host-nodes=' -m 64M,policy=bind
report $? "a policy without nodes"
refuses 2 '2 MiB' -m 65M,backing=hugetlb
report $? "half a huge page"

if ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
	report_skipped "runs of guests" "no usable /dev/kvm"
	report_end
fi

for options in backing=anon thp=off prealloc=on backing=memfd,prealloc=on host-nodes=0,policy=bind \
	host-nodes=0,policy=interleave,backing=memfd; do
	says_hello -m "64M,$options"
	report $? "$options"
done
says_hello -m 64M --numa memory=32M,cpus=0,host-nodes=0,policy=bind --numa memory=32M,host-nodes=0,policy=preferred
report $? "a policy for each node"
refuses 1 'NUMA node 63' -m 64M,host-nodes=63,policy=bind
report $? "a node that the host does not have"

says_hello -m 64M,max=128M,backing=file,share=on,path="$shared/new" && [ -s "$shared/new" ]
report $? "a shared file is made, and is the memory"
head -c 100000 /dev/urandom >"$shared/old" && cp "$shared/old" "$scratch/old"
says_hello -m 64M,backing=file,path="$shared/old" && cmp -s "$shared/old" "$scratch/old"
report $? "of a private file the guest has a copy"
says_hello -m 64M,backing=file,share=on,path="$shared/old" && ! cmp -s "$shared/old" "$scratch/old"
report $? "a shared file that was there is emptied, and used"
refuses 1 'not a regular file' -m 64M,backing=file,path="$shared"
report $? "a folder is no memory"
refuses 1 'No such file' -m 64M,backing=file,path="$shared/nothing"
report $? "a private file that is not there"
case $(stat -f -c %T "$scratch") in
tmpfs) report_skipped "a shared file on a disk" "$scratch is on tmpfs" ;;
*)
	refuses 1 'must be on tmpfs' -m 64M,backing=file,share=on,path="$scratch/disk" && [ ! -e "$scratch/disk" ]
	report $? "a shared file on a disk is refused, and not left there"
	;;
esac
if [ "$(cat /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages 2>/dev/null || echo 0)" = 0 ]; then
	refuses 1 'huge pages' -m 64M,backing=hugetlb
	report $? "no huge pages: one line says how to have some"
else
	report_skipped "no huge pages" "this host has some"
fi

report_end
