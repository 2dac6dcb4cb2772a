# SPDX-License-Identifier: GPL-2.0-or-later
# lock: none
skip "on purpose"
