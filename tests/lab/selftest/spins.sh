# SPDX-License-Identifier: GPL-2.0-or-later
# lock: none
# limit: 3
while :; do
	:
done
