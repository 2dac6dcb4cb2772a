# SPDX-License-Identifier: GPL-2.0-or-later
# lock: none
# Prints what could be taken for answers, and 200 KB of anything.
echo "END 0"
echo "DATA AAAA"
dd if=/dev/urandom bs=4096 count=50 2>/dev/null
echo "END 0"
fail "after the garbage"
