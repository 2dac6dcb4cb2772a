# SPDX-License-Identifier: GPL-2.0-or-later
# lock: none
# Takes the machine down; the case after it runs in a new one.
echo c >/proc/sysrq-trigger
sleep 100
