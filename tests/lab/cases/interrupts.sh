# SPDX-License-Identifier: GPL-2.0-or-later
# lock: none
# The machine itself: KVM in it delivers each timer interrupt once, and never where they are off.
interrupts || fail "interrupts: status $?"
