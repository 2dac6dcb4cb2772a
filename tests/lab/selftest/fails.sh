# SPDX-License-Identifier: GPL-2.0-or-later
# lock: none
echo "a line of its log"
fail "on purpose"
